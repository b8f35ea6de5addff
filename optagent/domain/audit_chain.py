"""Whether the links of an audit log are those that were written, all of them, in their order."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from optagent.domain.audit import GENESIS, AuditLink, ChainPoint, link_of, point_of
from optagent.errors import InvalidRequest

_FORMAT = "optagent audit log 1"


class Fault(StrEnum):
    """What is wrong with a link."""

    ALTERED = "altered entry"
    MISSING = "missing link"
    ORDER = "wrong order"


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first link that does not hold, by the sequence number that is due there."""

    sequence: int
    fault: Fault
    why: str

    def __str__(self) -> str:
        return f"link {self.sequence}: {self.fault}: {self.why}"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What came of a verification: the log is whole where `broken` is None.

    `links` were read; those from `first` to `last` hold (None: none does). `start` is what the oldest link follows,
    other than the genesis where older links were dropped; `head` the last link that holds, to be noted elsewhere.
    """

    links: int
    first: int | None
    last: int | None
    start: ChainPoint
    head: ChainPoint
    broken: BrokenLink | None = None

    @property
    def is_whole(self) -> bool:
        return self.broken is None

    @property
    def is_trimmed(self) -> bool:
        """Whether verification began after the first link that there ever was."""
        return self.start.sequence > 0


class Verification:
    """Takes a log link by link, from `start` on; `noted` is a point that somebody kept elsewhere and that must hold."""

    def __init__(self, start: ChainPoint = GENESIS, noted: ChainPoint | None = None) -> None:
        if noted is not None and noted.sequence < start.sequence:
            raise InvalidRequest(f"link {noted.sequence} was dropped: the log that is kept follows {start.sequence}")
        self._start = self._head = start
        self._noted = noted
        self._links = 0
        self._broken = self._unlike_noted(start)

    def take(self, links: Iterable[AuditLink]) -> None:
        """The next links."""
        for link in links:
            self._links += 1
            if self._broken is None:
                self._broken = self._fault(link)
                self._head = link.point if self._broken is None else self._head
            elif self._broken.fault is Fault.MISSING and link.sequence == self._broken.sequence:
                self._broken = BrokenLink(link.sequence, Fault.ORDER, "it stands behind a later one")

    def report(self, head: ChainPoint | None = None) -> ChainReport:
        """What was found, where the log ends here; at `head`, where that was kept beside the log."""
        held = self._head.sequence > self._start.sequence
        first, last = (self._start.sequence + 1, self._head.sequence) if held else (None, None)
        broken = self._broken or self._ends_wrong(head)
        return ChainReport(self._links, first, last, self._start, self._head, broken)

    def _fault(self, link: AuditLink) -> BrokenLink | None:
        due = self._head.sequence + 1
        if link.follows(self._head):
            return self._unlike_noted(link.point)
        if link.sequence > due:
            return BrokenLink(due, Fault.MISSING, f"link {link.sequence} stands in its place")
        if 0 < link.sequence < due:
            return BrokenLink(due, Fault.ORDER, f"link {link.sequence} stands in its place")
        said = "its digest is not that of its entry after the link before" if link.sequence else "it cannot be read"
        return BrokenLink(due, Fault.ALTERED, said)

    def _unlike_noted(self, point: ChainPoint) -> BrokenLink | None:
        noted = self._noted
        if noted is None or noted.sequence != point.sequence or noted == point:
            return None
        return BrokenLink(point.sequence, Fault.ALTERED, "its digest is not the one that was noted")

    def _ends_wrong(self, head: ChainPoint | None) -> BrokenLink | None:
        last = self._head.sequence
        for meant, named in ((head, "its head is"), (self._noted, "what was noted is")):
            if meant is not None and meant.sequence > last:
                return BrokenLink(last + 1, Fault.MISSING, f"the log ends at {last}, {named} link {meant.sequence}")
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
) -> ChainReport:
    """Whether the links, the oldest first, are a whole chain after `start` that ends at `head`, where that is known."""
    verification = Verification(start, noted)
    verification.take(links)
    return verification.report(head)


def opening_line(start: ChainPoint) -> str:
    """The first line of an exported log; a line for each link follows."""
    return _line({"format": _FORMAT, "start": asdict(start)})


def closing_line(head: ChainPoint) -> str:
    """The last line of an exported log: without it, links may be missing."""
    return _line({"head": asdict(head)})


def verify_lines(lines: Iterable[str], noted: ChainPoint | None = None) -> ChainReport:
    """Whether an exported log, by its lines, is whole; InvalidRequest for one that is no exported log."""
    rest = iter(lines)
    opening = next(rest, "").removesuffix("\n")
    start = _point_in(opening, "start")
    if start is None or opening != opening_line(start):
        raise InvalidRequest(f"this is no exported audit log: its first line must tell the format {_FORMAT!r}")
    verification, held = Verification(start, noted), _Held(rest)
    verification.take(held.links())
    head = _point_in(held.last, "head")
    if head is not None and held.last == closing_line(head):
        return verification.report(head)
    verification.take([link_of(held.last)] if held.last else [])
    report = verification.report()
    return report if report.broken else _cut_short(report)


class _Held:
    """Links of lines, all but the last: that one tells the head."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last = ""

    def links(self) -> Iterator[AuditLink]:
        for number, line in enumerate(self._lines):
            if number:
                yield link_of(self.last)
            self.last = line.removesuffix("\n")


def _cut_short(report: ChainReport) -> ChainReport:
    due = report.head.sequence + 1
    broken = BrokenLink(due, Fault.MISSING, "the file ends without the line that tells the head of the log")
    return ChainReport(report.links, report.first, report.last, report.start, report.head, broken)


def _point_in(line: str, name: str) -> ChainPoint | None:
    try:
        return point_of("{sequence}:{digest}".format(**json.loads(line)[name]))
    except (TypeError, LookupError, ValueError, RecursionError):
        return None


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
