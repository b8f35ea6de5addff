"""Process run: work ends exactly once, also where its runner loses the process."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, LeaseLost, ProcessNotFound, Unavailable
from optagent.loop import process as loop_process
from optagent.loop.process import LEASE_S, Run, run_claimed, run_created

PENDING = Process("p1", "tune", "churn", Status.PENDING, 100.0, 100.0)
QUEUED = replace(PENDING, status=Status.QUEUED, durable=True)


class CountingStore(InMemoryStore):
    """Counts what a runner asks of it, and can be away."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.renewals = 0
        self.saves = 0
        self.away = False

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        self.renewals += 1
        if self.away:
            raise Unavailable("Redis at redis:6379 does not answer")
        await super().renew_lease(process, lease_s)

    async def save_process(self, process: Process) -> None:
        self.saves += 1
        await super().save_process(process)


async def run_new(work: Callable[[Run], Awaitable[Any]], store: CountingStore, clock: ManualClock) -> Any:
    await store.create_process(PENDING, LEASE_S)
    return await run_created(PENDING, work, store, clock)


@pytest.fixture(autouse=True)
def _quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_process, "BEAT_S", 0.01)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock)


async def until_renewed(store: CountingStore, times: int) -> None:
    enough = store.renewals + times
    async with asyncio.timeout(30):
        while store.renewals < enough:
            await asyncio.sleep(0.001)


async def taken_over(store: CountingStore, clock: ManualClock) -> Process:
    """The process as its second runner has it, since the first was not heard for too long."""
    clock.advance(LEASE_S + 1)
    return await store.claim_process("p1", LEASE_S)


async def test_a_runner_that_lost_its_process_stops_within_one_beat_and_writes_nothing_more(store, clock, caplog):
    has_begun, seen = asyncio.Event(), []

    async def search(run: Run) -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(run.is_cancelled())
            raise

    await store.enqueue_process(QUEUED)
    running = asyncio.create_task(run_claimed("p1", search, store, clock))
    await has_begun.wait()
    successor = await taken_over(store, clock)
    renewals, saves = store.renewals, store.saves
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.raises(LeaseLost, match="'p1' was taken over by another runner"):
        await asyncio.wait_for(running, 30)
    assert seen == [True]
    assert (store.renewals - renewals, store.saves - saves) == (1, 0)
    assert await store.process("p1") == successor
    assert caplog.records == []


async def test_work_in_a_thread_is_told_to_stop_when_the_process_is_lost(store, clock):
    stopped = asyncio.Event()

    async def search(run: Run) -> None:
        loop = asyncio.get_running_loop()

        def poll() -> None:
            while not run.is_cancelled():
                time.sleep(0.001)
            loop.call_soon_threadsafe(stopped.set)

        await asyncio.to_thread(poll)

    await store.enqueue_process(QUEUED)
    running = asyncio.create_task(run_claimed("p1", search, store, clock))
    await until_renewed(store, 1)
    await taken_over(store, clock)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(running, 30)
    await asyncio.wait_for(stopped.wait(), 30)


async def test_a_stage_that_finds_the_process_lost_is_the_last_that_is_asked_of_the_store(store, clock, monkeypatch):
    monkeypatch.setattr(loop_process, "BEAT_S", 3600.0)
    has_begun, is_lost = asyncio.Event(), asyncio.Event()

    async def work(run: Run) -> None:
        has_begun.set()
        await is_lost.wait()
        await run.stage("search")

    await store.enqueue_process(QUEUED)
    running = asyncio.create_task(run_claimed("p1", work, store, clock))
    await has_begun.wait()
    successor = await taken_over(store, clock)
    saves = store.saves
    is_lost.set()
    with pytest.raises(LeaseLost):
        await running
    assert store.saves == saves + 1
    assert await store.process("p1") == successor


async def test_a_runner_whose_process_is_no_longer_in_the_store_stops_as_well(store, clock):
    async def search(run: Run) -> None:
        store._processes.clear()
        await asyncio.Event().wait()

    with pytest.raises(ProcessNotFound, match="p1"):
        await asyncio.wait_for(run_new(search, store, clock), 30)


async def test_a_store_that_is_away_is_no_lost_process(store, clock, caplog):
    async def search(run: Run) -> dict[str, int]:
        store.away = True
        await until_renewed(store, 3)
        store.away = False
        await until_renewed(store, 2)
        return {"trials": 2}

    await store.enqueue_process(QUEUED)
    assert await run_claimed("p1", search, store, clock) == {"trials": 2}
    assert (await store.process("p1")).status is Status.SUCCEEDED
    assert {record.message for record in caplog.records} == {
        "process p1 goes on without its store: Redis at redis:6379 does not answer"
    }


@pytest.mark.parametrize(
    "error", [ValueError("a fault of ours"), Conflict("a rollout is active"), ExceptionGroup("two", [KeyError("a")])]
)
async def test_the_error_of_the_work_is_passed_on_as_it_was_raised(store, clock, error):
    async def work(run: Run) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await run_new(work, store, clock)
    assert raised.value is error
    stored_process = await store.process("p1")
    assert (stored_process.status, str(error) in str(stored_process.error)) == (Status.FAILED, True)


async def test_a_runner_that_is_cancelled_by_its_caller_ends_its_process_as_cancelled(store, clock):
    has_begun = asyncio.Event()

    async def work(run: Run) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run_new(work, store, clock))
    await has_begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await store.process("p1")).status is Status.CANCELLED


async def test_a_process_that_is_asked_to_stop_hears_it_at_the_next_beat(store, clock):
    async def work(run: Run) -> None:
        await store.request_cancel("p1")
        async with asyncio.timeout(30):
            while not run.is_cancelled():
                await asyncio.sleep(0.001)
        await run.stage("search")

    with pytest.raises(Exception, match="cancelled before search"):
        await run_new(work, store, clock)
    assert (await store.process("p1")).status is Status.CANCELLED


@pytest.mark.parametrize("error", [None, ValueError("bad rows")])
async def test_a_beat_that_loses_its_cancellation_does_not_hold_up_the_end(clock, error):
    class DeafStore(CountingStore):
        """Swallows a cancellation that comes while it renews a lease, as `asyncio.wait_for` can."""

        async def renew_lease(self, process: Process, lease_s: float) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                self.renewals += 1
                await asyncio.sleep(60)

    store = DeafStore(clock)

    async def work(run: Run) -> str:
        await until_renewed(store, 1)
        if error is not None:
            raise error
        return {"done": True}

    async with asyncio.timeout(10):
        if error is None:
            assert await run_new(work, store, clock) == {"done": True}
        else:
            with pytest.raises(ValueError, match="bad rows"):
                await run_new(work, store, clock)
    assert (await store.process("p1")).status is (Status.SUCCEEDED if error is None else Status.FAILED)


async def test_a_run_tells_each_stage_and_the_parts_that_are_done(store, clock):
    told: list[Any] = []

    async def work(run: Run) -> None:
        await run.stage("replay")
        run.count_done(1, 3, "replays")

    await store.create_process(PENDING, LEASE_S)
    await run_created(PENDING, work, store, clock, told.append)
    assert [(each.stage, each.done, each.total, each.unit) for each in told] == [
        ("replay", 0, None, ""),
        ("replay", 1, 3, "replays"),
    ]
    assert (await store.process("p1")).progress == {}
