"""Who asked for what, when, and what came of it; entries are links of a hash chain, so that a change is seen.

The digest of a link is SHA-256, in hexadecimal, over the digest of the link before it, its sequence number and the
canonical JSON of its entry, with a line feed between each; `GENESIS` stands before the first. JSON is canonical with
sorted keys, no whitespace, UTF-8 and finite numbers. Where a link lies it is a line of canonical JSON itself.

A chain shows what was changed below its head. Who can write the log can make a new chain of it: the head is to be noted
elsewhere, too.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any

from optagent.errors import InvalidRequest

_POINT = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
_LINE = re.compile(r'\{"digest":"([0-9a-f]{64})","entry":(\{.*\}),"sequence":([1-9][0-9]{0,17})\}')
_UNREADABLE = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log; `at` is a POSIX time.

    `actor` is a token's name, "anonymous" or "optagent"; `action` a verb such as `rollout.promote` or `auth.refused`;
    `target` what it was done to; `outcome` "done" or why it was refused. No feature values, no secrets.
    """

    at: float
    actor: str
    action: str
    target: str = ""
    outcome: str = "done"
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

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
    """A place in the chain: the sequence number of a link and its digest. As text `SEQUENCE:DIGEST`.

    >>> point_of(str(GENESIS)) == GENESIS
    True
    """

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


GENESIS = ChainPoint(0, "0" * 64)
"""What the first link of every log follows."""


@dataclass(frozen=True, slots=True)
class AuditLink:
    """An entry in its place. `text` is the canonical JSON of the entry, which `digest` speaks for byte by byte."""

    sequence: int
    text: str
    digest: str

    @property
    def point(self) -> ChainPoint:
        return ChainPoint(self.sequence, self.digest)

    @property
    def entry(self) -> AuditEntry:
        """Raises InvalidRequest where the text is no entry: it was altered, or another version wrote it."""
        try:
            return AuditEntry(**json.loads(self.text))
        except (TypeError, ValueError, RecursionError) as error:
            named = f"link {self.sequence}" if self.sequence else "a line"
            raise InvalidRequest(f"{named} of the audit log holds no entry: {error}") from None

    @property
    def line(self) -> str:
        """The link as it is kept; what could not be read as a link is as it was."""
        if self.sequence == _UNREADABLE:
            return self.text
        return f'{{"digest":"{self.digest}","entry":{self.text},"sequence":{self.sequence}}}'

    def follows(self, previous: ChainPoint) -> bool:
        """Whether it is the next link after `previous`, as it was written."""
        return self == _link(previous, self.text)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A stretch of the log, the oldest link first. `start` is what the oldest link that is kept follows."""

    start: ChainPoint
    head: ChainPoint
    links: tuple[AuditLink, ...]


def linked(previous: ChainPoint, entry: AuditEntry) -> AuditLink:
    """The entry as the link after `previous`; InvalidRequest for one that cannot be canonical JSON."""
    return _link(previous, canonical(entry))


def link_of(line: str) -> AuditLink:
    """The link that a line holds; of a line that is none, a link that follows nothing."""
    found = _LINE.fullmatch(line)
    if found is None:
        return AuditLink(_UNREADABLE, line, "")
    return AuditLink(int(found[3]), found[2], found[1])


def point_of(text: str) -> ChainPoint:
    """The point that `SEQUENCE:DIGEST` names; InvalidRequest otherwise."""
    found = _POINT.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"a point of the audit log is SEQUENCE:DIGEST with 64 hexadecimal digits, got {text!r}")
    return ChainPoint(int(found[1]), found[2])


def canonical(entry: AuditEntry) -> str:
    """The one JSON of an entry; InvalidRequest where a detail is NaN, bytes, or reads back as something else."""
    held = {each.name: getattr(entry, each.name) for each in fields(AuditEntry)} | {"at": float(entry.at)}
    try:
        text = _json(held)
        text.encode()
        same = _json(json.loads(text)) == text
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"audit entry {entry.action!r} cannot be written as canonical JSON: {error}") from None
    if not same:
        raise InvalidRequest(f"audit entry {entry.action!r} cannot be written as canonical JSON: keys must be text")
    return text


def _link(previous: ChainPoint, text: str) -> AuditLink:
    sequence = previous.sequence + 1
    hashed = f"{previous.digest}\n{sequence}\n{text}".encode(errors="surrogatepass")
    return AuditLink(sequence, text, sha256(hashed).hexdigest())


def _json(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_as_dict
    )


def _as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not of JSON")
