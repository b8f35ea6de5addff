"""Refusals in the audit log: sums a minute, whatever the flood, and nothing lost while the log is away."""

import asyncio
from typing import Any

import pytest

from optagent.domain.audit import AuditEntry, entry_text
from optagent.errors import Unavailable
from optagent.loop.refusal_log import FailureLimit, RefusalLog


def refusal(number: int = 0, actor: str = "anonymous", **changes: Any) -> AuditEntry:
    return AuditEntry(1000.0 + number, actor, "auth.refused", "read", "a token is needed", f"r-{number}", **changes)


class Written:
    """Entries that were written, with a log that can be away, and minutes that pass when they are told to."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.is_away = False
        self._minute = asyncio.Event()
        self.log = RefusalLog(self.write, sleep=self.sleep)

    async def write(self, entry: AuditEntry) -> None:
        if self.is_away:
            raise Unavailable("Redis does not answer")
        self.entries.append(entry)

    async def sleep(self, seconds: float) -> None:
        assert seconds == 60.0
        await self._minute.wait()
        self._minute.clear()

    async def pass_minute(self) -> None:
        self._minute.set()
        await self.pass_no_time()

    async def pass_no_time(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def written() -> Written:
    return Written()


async def test_a_single_refusal_is_written_at_once_as_it_is(written: Written):
    written.log(refusal(1))
    await written.pass_no_time()
    assert written.entries == [refusal(1)]


async def test_a_flood_is_an_entry_a_minute_that_counts_it_by_kind(written: Written):
    for number in range(1000):
        for actor in ("anonymous", "ci"):
            written.log(refusal(number, actor))
            await written.pass_no_time()
    assert len(written.entries) == 1
    await written.pass_minute()
    assert len(written.entries) == 2
    total, kinds = written.entries[1].detail["count"], written.entries[1].detail["kinds"]
    assert total == 1999
    assert [(kind["actor"], kind["count"]) for kind in kinds] == [("ci", 1000), ("anonymous", 999)]
    await written.pass_minute()
    assert len(written.entries) == 2
    assert written.log.unwritten == 0


async def test_refusals_of_endless_kinds_take_bounded_memory_and_one_bounded_entry(written: Written):
    written.log(refusal())
    await written.pass_no_time()
    for number in range(5000):
        written.log(refusal(number, f"token {number} {'x' * 5000}"))
    assert len(written.log._sums.counts) == 100
    await written.pass_minute()
    detail = written.entries[1].detail
    assert detail["others"] + sum(kind["count"] for kind in detail["kinds"]) == detail["count"] == 5000
    assert len(entry_text(written.entries[1])) < 4500
    assert '"kinds":[' in entry_text(written.entries[1])


async def test_what_cannot_be_written_is_counted_in_the_next_sum(written: Written):
    written.is_away = True
    written.log(refusal(1))
    await written.pass_no_time()
    written.log(refusal(2))
    assert written.log.unwritten == 2
    written.is_away = False
    await written.pass_minute()
    assert [entry.detail["count"] for entry in written.entries] == [2]


async def test_refusals_never_wait_for_a_log_that_hangs_and_never_pile_up():
    started = 0

    async def hang(entry: AuditEntry) -> None:
        nonlocal started
        started += 1
        await asyncio.Event().wait()

    log = RefusalLog(hang)
    for number in range(100):
        log(refusal(number))
        await asyncio.sleep(0)
    assert started == 1
    assert log.unwritten == 99


async def test_what_is_counted_is_written_at_the_end(written: Written):
    for number in range(3):
        written.log(refusal(number))
        await written.pass_no_time()
    await written.log.close()
    assert [entry.detail.get("count", 1) for entry in written.entries] == [1, 2]


def test_ten_failures_of_an_actor_a_minute_are_entries_of_their_own():
    limit = FailureLimit()
    failure = AuditEntry(600.0, "ci", "model.update", "churn", "no such field")
    assert sum(limit.admits(failure) for _ in range(100)) == 10
    assert limit.admits(AuditEntry(600.0, "ana", "model.update", "churn", "no such field"))
    assert all(limit.admits(AuditEntry(600.0, "ci", "model.update", "churn")) for _ in range(100))
    assert limit.admits(AuditEntry(661.0, "ci", "model.update", "churn", "no such field"))


def test_actors_without_number_take_bounded_memory():
    limit = FailureLimit()
    admitted = sum(limit.admits(AuditEntry(600.0, f"actor {number}", "a", "", "no")) for number in range(5000))
    assert admitted == len(limit._counts) == 1000
