"""Audit verification: shows that a log has all links that were ever written, unaltered, in order, and signed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from optagent.domain.audit import GENESIS, AuditLink, ChainPoint, CopyFault, parse_link, parse_point
from optagent.domain.audit_anchor import AuditTrust
from optagent.errors import InvalidRequest

_FORMAT = "optagent audit log 2"
_FORMAT_WITHOUT_SIGNATURES = "optagent audit log 1"


class Fault(StrEnum):
    """Kinds of damage to a link."""

    ALTERED = "altered entry"
    MISSING = "missing link"
    ORDER = "wrong order"
    UNSIGNED = "missing signature"
    FORGED = "wrong signature"
    UNKNOWN_KEY = "unknown key"
    COPY = "wrong archived copy"


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first link that fails verification, by the sequence number that belongs there."""

    sequence: int
    fault: Fault
    why: str

    def __str__(self) -> str:
        return f"link {self.sequence}: {self.fault}: {self.why}"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Result of a verification: the log is whole where `broken` is None.

    `links` counts the links read; those from `first` to `last` passed (None: none did). `start` is the point that the
    oldest link follows, which is not the genesis where older links were dropped; `head` is the last link that passed,
    to be noted elsewhere. `signed_from` is the first signed link (None: none is signed); its signature and those after
    it were checked where `has_keys`.
    """

    links: int
    first: int | None
    last: int | None
    start: ChainPoint
    head: ChainPoint
    broken: BrokenLink | None = None
    signed_from: int | None = None
    has_keys: bool = False

    @property
    def is_whole(self) -> bool:
        return self.broken is None

    @property
    def is_trimmed(self) -> bool:
        """True where older links were dropped, so that verification did not begin at the genesis."""
        return self.start.sequence > 0


class SignatureCheck:
    """Checks signatures link by link: after a signed link there is no unsigned one, and none by an older key."""

    def __init__(self, trust: AuditTrust) -> None:
        self._keyring = trust.keyring
        self._due_from = None if trust.anchor is None else trust.anchor.signed_from
        self._newest_place = 0
        self.signed_from: int | None = None

    def check_link(self, link: AuditLink) -> BrokenLink | None:
        number = link.sequence
        if not link.signature:
            is_due = self.signed_from is not None or (self._due_from is not None and number >= self._due_from)
            why = f"links are signed from {self.signed_from or self._due_from} on, and this one is not"
            return BrokenLink(number, Fault.UNSIGNED, why) if is_due else None
        self.signed_from = self.signed_from or number
        if self._keyring is None:
            return None
        place = self._keyring.place(link.key_id)
        if place is None:
            return BrokenLink(number, Fault.UNKNOWN_KEY, f"the file of audit keys does not hold its key {link.key_id}")
        if place < self._newest_place:
            return BrokenLink(number, Fault.FORGED, f"its key {link.key_id} had been replaced by a newer one")
        self._newest_place = place
        if not self._keyring.keys[place].has_signed(number, link.digest, link.signature):
            return BrokenLink(number, Fault.FORGED, f"its signature is not that of the key {link.key_id}")
        return None


class Verification:
    """Verifies a log link by link, from `start` on.

    `noted` is a point from outside the log that it must contain, as it must agree with the anchor of `trust`.
    """

    def __init__(
        self, start: ChainPoint = GENESIS, noted: ChainPoint | None = None, trust: AuditTrust | None = None
    ) -> None:
        if noted is not None and noted.sequence < start.sequence:
            raise InvalidRequest(f"link {noted.sequence} was dropped: the log that is kept follows {start.sequence}")
        trust = trust or AuditTrust()
        self._start = self._head = start
        anchored = (trust.anchor.head,) if trust.anchor is not None else ()
        self._noted = tuple(point for point in (noted, *anchored) if point is not None)
        self._signatures = SignatureCheck(trust)
        self._has_keys = trust.keyring is not None
        self._links = 0
        self._copy_fault: CopyFault | None = None
        self._broken = self._compare_with_noted(start)

    def take(self, links: Iterable[AuditLink]) -> None:
        """Verifies the next links."""
        for link in links:
            self._links += 1
            if self._broken is None:
                self._broken = self._check_link(link)
                self._head = link.point if self._broken is None else self._head
            elif self._broken.fault is Fault.MISSING and link.sequence == self._broken.sequence:
                self._broken = BrokenLink(link.sequence, Fault.ORDER, "it stands behind a later one")

    def take_faults(self, faults: Iterable[CopyFault]) -> None:
        """Takes the faults of archived copies; the first one counts."""
        for fault in faults:
            if self._copy_fault is None or fault.sequence < self._copy_fault.sequence:
                self._copy_fault = fault

    def report(self, head: ChainPoint | None = None) -> ChainReport:
        """The result for a log that ends here; it must end at `head`, where that was stored beside the log."""
        any_passed = self._head.sequence > self._start.sequence
        first, last = (self._start.sequence + 1, self._head.sequence) if any_passed else (None, None)
        broken = self._first_fault(self._broken or self._check_end(head))
        signed_from = self._signatures.signed_from
        return ChainReport(self._links, first, last, self._start, self._head, broken, signed_from, self._has_keys)

    def _first_fault(self, broken: BrokenLink | None) -> BrokenLink | None:
        fault = self._copy_fault
        if fault is None or (broken is not None and broken.sequence <= fault.sequence):
            return broken
        return BrokenLink(fault.sequence, Fault.COPY, fault.why)

    def _check_link(self, link: AuditLink) -> BrokenLink | None:
        due = self._head.sequence + 1
        if link.follows(self._head):
            return self._signatures.check_link(link) or self._compare_with_noted(link.point)
        if link.sequence > due:
            return BrokenLink(due, Fault.MISSING, f"link {link.sequence} stands in its place")
        if 0 < link.sequence < due:
            return BrokenLink(due, Fault.ORDER, f"link {link.sequence} stands in its place")
        why = "its digest is not that of its entry after the link before" if link.sequence else "it cannot be read"
        return BrokenLink(due, Fault.ALTERED, why)

    def _compare_with_noted(self, point: ChainPoint) -> BrokenLink | None:
        if all(noted.sequence != point.sequence or noted == point for noted in self._noted):
            return None
        return BrokenLink(point.sequence, Fault.ALTERED, "its digest is not the one that was noted")

    def _check_end(self, head: ChainPoint | None) -> BrokenLink | None:
        last = self._head.sequence
        for point, text in ((head, "its head is"), *((noted, "what was noted is") for noted in self._noted)):
            if point is not None and point.sequence > last:
                return BrokenLink(last + 1, Fault.MISSING, f"the log ends at {last}, {text} link {point.sequence}")
        if head is None or head == self._head:
            return None
        if head.sequence < last:
            return BrokenLink(head.sequence + 1, Fault.ORDER, f"it stands behind the head, link {head.sequence}")
        return BrokenLink(last, Fault.ALTERED, "its digest is not that of the head")


def verify(
    links: Iterable[AuditLink],
    start: ChainPoint = GENESIS,
    head: ChainPoint | None = None,
    noted: ChainPoint | None = None,
    trust: AuditTrust | None = None,
) -> ChainReport:
    """Verifies that the links, the oldest first, are a whole chain after `start`, up to `head` where that is known."""
    verification = Verification(start, noted, trust)
    verification.take(links)
    return verification.report(head)


def opening_line(start: ChainPoint, name: str = _FORMAT) -> str:
    """The first line of an exported log of the format of that name; a line for each link follows."""
    return _json_line({"format": name, "start": asdict(start)})


def closing_line(head: ChainPoint) -> str:
    """The last line of an exported log; in a log without it, links may be missing."""
    return _json_line({"head": asdict(head)})


def verify_lines(lines: Iterable[str], noted: ChainPoint | None = None, trust: AuditTrust | None = None) -> ChainReport:
    """Verifies the lines of an exported log; InvalidRequest where they are not those of an exported log."""
    rest = iter(lines)
    opening = next(rest, "").removesuffix("\n")
    start = _read_point(opening, "start")
    if start is None or opening not in (opening_line(start), opening_line(start, _FORMAT_WITHOUT_SIGNATURES)):
        raise InvalidRequest(f"this is no exported audit log: its first line must tell the format {_FORMAT!r}")
    verification, body = Verification(start, noted, trust), _LinkLines(rest)
    verification.take(body.links())
    head = _read_point(body.last, "head")
    if head is not None and body.last == closing_line(head):
        return verification.report(head)
    verification.take([parse_link(body.last)] if body.last else [])
    report = verification.report()
    return report if report.broken else _mark_truncated(report)


class _LinkLines:
    """The links of all lines but the last, which states the head."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last = ""

    def links(self) -> Iterator[AuditLink]:
        for number, line in enumerate(self._lines):
            if number:
                yield parse_link(self.last)
            self.last = line.removesuffix("\n")


def _mark_truncated(report: ChainReport) -> ChainReport:
    due = report.head.sequence + 1
    broken = BrokenLink(due, Fault.MISSING, "the file ends without the line that tells the head of the log")
    return replace(report, broken=broken)


def _read_point(line: str, name: str) -> ChainPoint | None:
    try:
        return parse_point("{sequence}:{digest}".format(**json.loads(line)[name]))
    except (TypeError, LookupError, ValueError, RecursionError):
        return None


def _json_line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
