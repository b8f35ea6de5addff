"""Audit log: entries of actions, as links of a hash chain that makes every later change visible.

The digest of a link is SHA-256, in hexadecimal, over the digest of the link before it, its sequence number and the
canonical JSON of its entry, with a line feed between each; `GENESIS` is the point before the first link. Canonical JSON
has sorted keys, no whitespace, UTF-8 and finite numbers. A stored link is itself one line of canonical JSON.

A chain reveals changes below its head. Somebody who can write the log can also build a new chain of it: therefore links
are signed with a key that is kept elsewhere (`audit_signature`). Links of earlier versions are not signed.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any

from optagent.domain.audit_limits import (
    DECISION_BYTES,
    DETAIL_BYTES,
    TEXT_LIMITS,
    bound_detail,
    compact_json,
    cut_text,
)
from optagent.domain.audit_signature import AuditKey
from optagent.domain.gate_decision import JUDGED
from optagent.errors import InvalidRequest

_POINT = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
_LINE = re.compile(
    r'\{"digest":"(?P<digest>[0-9a-f]{64})","entry":(?P<text>\{.*\})(?:,"key":"(?P<key_id>[0-9a-f]{16})")?'
    r',"sequence":(?P<sequence>[1-9][0-9]{0,17})(?:,"signature":"(?P<signature>[0-9a-f]{64})")?\}'
)
_UNREADABLE = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action in the audit log. An entry holds no feature values and no secrets."""

    at: float
    """The time of the action."""
    actor: str
    """The text of an `Actor`, `anonymous`, or `optagent` for what happens by itself."""
    action: str
    """A verb, such as `rollout.promote` or `auth.refused`."""
    target: str = ""
    """The object that the actor acted on."""
    outcome: str = "done"
    """`done`, or the reason for a refusal."""
    request_id: str = ""
    """The id of the HTTP request by which it came; empty for other ways."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of the action and its results; of a decision, all that is needed to make it again."""

    def __post_init__(self) -> None:
        if not (isinstance(self.at, int | float) and math.isfinite(self.at)):
            raise InvalidRequest(f"audit entry: at must be a finite POSIX time, got {self.at!r}")
        for name in ("actor", "action", "target", "outcome", "request_id"):
            if not isinstance(getattr(self, name), str):
                raise InvalidRequest(f"audit entry: {name} must be text, got {getattr(self, name)!r}")
        if not isinstance(self.detail, Mapping):
            raise InvalidRequest(f"audit entry: detail must be a mapping, got {self.detail!r}")


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """A place in the chain: the sequence number of a link and its digest. Its text is `SEQUENCE:DIGEST`.

    >>> parse_point(str(GENESIS)) == GENESIS
    True
    """

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


GENESIS = ChainPoint(0, "0" * 64)
"""The point that the first link of every log follows."""


@dataclass(frozen=True, slots=True)
class AuditLink:
    """An entry at its place in the chain."""

    sequence: int
    """Its place in the chain, from 1."""
    text: str
    """The canonical JSON of the entry."""
    digest: str
    """The SHA-256, in hexadecimal, over the digest of the link before, `sequence` and every byte of `text`."""
    key_id: str = ""
    """The key that signed it; empty where it is not signed."""
    signature: str = ""
    """The signature of that key; empty where it is not signed."""

    @property
    def point(self) -> ChainPoint:
        return ChainPoint(self.sequence, self.digest)

    @property
    def entry(self) -> AuditEntry:
        """The entry of the text; InvalidRequest where the text is no entry: altered, or written by another version."""
        try:
            return AuditEntry(**json.loads(self.text))
        except (TypeError, ValueError, RecursionError) as error:
            place = f"link {self.sequence}" if self.sequence else "a line"
            raise InvalidRequest(f"{place} of the audit log holds no entry: {error}") from None

    @property
    def line(self) -> str:
        """The stored line of the link; a line that could not be read as a link is left as it was."""
        if self.sequence == _UNREADABLE:
            return self.text
        key = f',"key":"{self.key_id}"' if self.key_id else ""
        signature = f',"signature":"{self.signature}"' if self.signature else ""
        return f'{{"digest":"{self.digest}","entry":{self.text}{key},"sequence":{self.sequence}{signature}}}'

    @property
    def record(self) -> "AuditRecord":
        """The entry with its sequence number, within the limits of an entry; InvalidRequest as `entry`."""
        entry = bound_entry(self.entry)
        return AuditRecord(**{each.name: getattr(entry, each.name) for each in fields(entry)}, sequence=self.sequence)

    def follows(self, previous: ChainPoint) -> bool:
        """True where this is the next link after `previous`, unaltered; its signature is not looked at."""
        is_next = self.sequence == previous.sequence + 1
        return is_next and self.digest == _digest_of(previous, self.text)


@dataclass(frozen=True, slots=True)
class AuditRecord(AuditEntry):
    """An entry with the sequence number of its link."""

    sequence: int = 0


@dataclass(frozen=True, slots=True)
class CopyFault:
    """A link whose archived copy is not as it was written."""

    sequence: int
    why: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A section of the log, the oldest link first. `start` is the point that the oldest stored link follows.

    `until` is the place of the last link, counted from the first link that there ever was. `faults` are those of the
    archived copies of this section.
    """

    start: ChainPoint
    head: ChainPoint
    links: tuple[AuditLink, ...]
    until: int = 0
    faults: tuple[CopyFault, ...] = ()


def link_entry(previous: ChainPoint, entry: AuditEntry, key: AuditKey | None = None) -> AuditLink:
    """The entry as the link after `previous`; InvalidRequest for an entry that cannot be canonical JSON.

    An entry beyond the limits is bounded here, by whatever door it came.
    """
    return next_link(previous, entry_text(entry), key)


def entry_text(entry: AuditEntry) -> str:
    """The canonical JSON of an entry within its limits; InvalidRequest for an entry that cannot be canonical JSON."""
    return canonical_json(bound_entry(entry))


def bound_entry(entry: AuditEntry) -> AuditEntry:
    """The entry within its limits; one whose detail is not of JSON keeps its detail."""
    texts: dict[str, Any] = {name: cut_text(getattr(entry, name), limit) for name, limit in TEXT_LIMITS.items()}
    detail = entry.detail
    with suppress(TypeError, ValueError, RecursionError):  # canonical_json refuses it, and says why
        detail = bound_detail(detail, DECISION_BYTES if entry.action == JUDGED else DETAIL_BYTES)
    return replace(entry, **texts, detail=detail)


def parse_link(line: str) -> AuditLink:
    """The link of a stored line; an unreadable line becomes a link that follows no point."""
    match = _LINE.fullmatch(line)
    if match is None:
        return AuditLink(_UNREADABLE, line, "")
    key_id, signature = match["key_id"] or "", match["signature"] or ""
    if bool(key_id) is not bool(signature):
        return AuditLink(_UNREADABLE, line, "")
    return AuditLink(int(match["sequence"]), match["text"], match["digest"], key_id, signature)


def parse_point(text: str) -> ChainPoint:
    """The point of a text `SEQUENCE:DIGEST`; InvalidRequest for any other text."""
    match = _POINT.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"a point of the audit log is SEQUENCE:DIGEST with 64 hexadecimal digits, got {text!r}")
    return ChainPoint(int(match[1]), match[2])


def canonical_json(entry: AuditEntry) -> str:
    """The only valid JSON of an entry; InvalidRequest where a detail is NaN, bytes, or reads back as something else."""
    values = {each.name: getattr(entry, each.name) for each in fields(AuditEntry)} | {"at": float(entry.at)}
    try:
        text = compact_json(values)
        text.encode()
        same = compact_json(json.loads(text)) == text
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"audit entry {entry.action!r} cannot be written as canonical JSON: {error}") from None
    if not same:
        raise InvalidRequest(f"audit entry {entry.action!r} cannot be written as canonical JSON: keys must be text")
    return text


def next_link(previous: ChainPoint, text: str, key: AuditKey | None = None) -> AuditLink:
    """The link after `previous` of the canonical JSON of an entry, signed where there is a key."""
    sequence, digest = previous.sequence + 1, _digest_of(previous, text)
    if key is None:
        return AuditLink(sequence, text, digest)
    return AuditLink(sequence, text, digest, key.key_id, key.sign(sequence, digest))


def _digest_of(previous: ChainPoint, text: str) -> str:
    content = f"{previous.digest}\n{previous.sequence + 1}\n{text}".encode(errors="surrogatepass")
    return sha256(content).hexdigest()
