"""Refusal log: refused requests as entries of the audit log, a sum a minute instead of an entry for each.

A flood of refusals, with a token or without, so adds at most an entry a minute to the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from optagent.domain.audit import AuditEntry
from optagent.domain.audit_limits import cut_text

DONE = "done"
"""The outcome of an act that was neither refused nor failed."""

REFUSALS = "requests.refused"
"""The action of an entry that sums up refusals."""

_EVERY_S = 60.0
_CLOSE_S = 2.0
_MOST_KINDS = 100  # that are told apart within a minute; the others are counted together
_SHOWN_KINDS = 10  # of the most frequent ones: with these texts a detail stays within the limit of an entry
_TEXT = 60
_MOST_ACTORS = 1000


@dataclass(slots=True)
class RefusalSums:
    """Counts refused requests by actor, action, target and reason."""

    entries: int = 0
    first: AuditEntry | None = None
    last_at: float = 0.0
    counts: dict[tuple[str, str, str, str], int] = field(default_factory=dict)

    def add(self, entry: AuditEntry) -> None:
        self.entries += 1
        self.first, self.last_at = self.first or entry, max(self.last_at, entry.at)
        kind = (entry.actor, entry.action, entry.target, entry.outcome)
        kind = tuple(cut_text(text, _TEXT) for text in kind)  # type: ignore[assignment]
        if kind in self.counts or len(self.counts) < _MOST_KINDS:
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def add_sums(self, later: "RefusalSums") -> None:
        """Adds what was counted later than this."""
        self.entries += later.entries
        self.first, self.last_at = self.first or later.first, max(self.last_at, later.last_at)
        for kind, count in later.counts.items():
            if kind in self.counts or len(self.counts) < _MOST_KINDS:
                self.counts[kind] = self.counts.get(kind, 0) + count

    def summary(self) -> AuditEntry | None:
        """One entry for all: the refusal itself where there was one, None where there was none."""
        if self.first is None or self.entries == 1:
            return self.first
        frequent = sorted(self.counts.items(), key=lambda each: -each[1])[:_SHOWN_KINDS]
        kinds = [
            {"actor": actor, "action": action, "target": target, "reason": reason, "count": count}
            for (actor, action, target, reason), count in frequent
        ]
        others = self.entries - sum(count for _, count in frequent)
        detail = {
            "since": self.first.at,
            "until": self.last_at,
            "count": self.entries,
            "kinds": kinds,
            "others": others,
        }
        outcome = f"{self.entries} requests were refused or failed"
        return AuditEntry(self.last_at, "optagent", REFUSALS, "", outcome, detail=detail)


class RefusalLog:
    """Writes refusals into the audit log in the background: the first one at once, then their sums, one a minute.

    Sums that could not be written are part of the next.
    """

    def __init__(
        self,
        record: Callable[[AuditEntry], Awaitable[None]],
        every_s: float = _EVERY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._record, self._every_s, self._sleep = record, every_s, sleep
        self._sums = RefusalSums()
        self._writing: asyncio.Task[None] | None = None

    @property
    def unwritten(self) -> int:
        """The number of refusals that are counted and not yet in the log."""
        return self._sums.entries

    def __call__(self, entry: AuditEntry) -> None:
        self._sums.add(entry)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write_sums())

    async def close(self) -> None:
        """Writes what is counted, but does not wait for long."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        with suppress(TimeoutError):
            await asyncio.wait_for(self._write(), _CLOSE_S)

    async def _write_sums(self) -> None:
        while self._sums.entries:
            await self._write()
            await self._sleep(self._every_s)

    async def _write(self) -> None:
        sums, self._sums = self._sums, RefusalSums()
        entry = sums.summary()
        if entry is None:
            return
        is_written = False
        try:
            with suppress(Exception):  # the audit log is away: requests go on
                await self._record(entry)
                is_written = True
        finally:
            if not is_written:
                sums.add_sums(self._sums)
                self._sums = sums


class FailureLimit:
    """Admits so many failed acts of an actor a minute as entries of their own."""

    def __init__(self, per_minute: int = 10) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._counts: dict[str, int] = {}

    def admits(self, entry: AuditEntry) -> bool:
        """True for an act that was done, for a sum, and for the first failures of an actor in the entry's minute."""
        if entry.outcome == DONE or entry.action == REFUSALS:
            return True
        minute = int(entry.at // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        if entry.actor not in self._counts and len(self._counts) >= _MOST_ACTORS:
            return False
        self._counts[entry.actor] = self._counts.get(entry.actor, 0) + 1
        return self._counts[entry.actor] <= self._per_minute
