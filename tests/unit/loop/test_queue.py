"""Process queue: the most urgent processes start first, and the queue is worked off also where runners die."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.process import Process, Status
from optagent.errors import Unavailable
from optagent.loop.queue import sort_queue, start_due, startable


def process(name: str, status: Status = Status.QUEUED, at: float = 0.0) -> Process:
    return Process(name, "tune", "churn", status, at, at)


class Launched:
    """A launcher that only remembers ids, or whose cluster is down."""

    def __init__(self, away: bool = False) -> None:
        self.ids: list[str] = []
        self._away = away

    def launch(self, process_id: str) -> None:
        if self._away:
            raise Unavailable("no Ray cluster")
        self.ids.append(process_id)

    def close(self) -> None: ...


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def store(clock: ManualClock) -> InMemoryStore:
    return InMemoryStore(clock)


def test_the_oldest_start_first():
    waiting = [process("c", at=3), process("a", at=1), process("b", at=2)]
    assert [each.process_id for each in startable(waiting, 2)] == ["a", "b"]
    assert [each.process_id for each in sort_queue(waiting)] == ["a", "b", "c"]


def test_a_model_that_decays_goes_first_then_what_a_person_asked_for_and_nothing_waits_for_ever():
    manual = process("asked", at=1000)
    decays = replace(process("decays", at=1002), kind="optimize", command={"trigger": "degradation"})
    calendar = replace(process("calendar", at=999), kind="optimize", command={"trigger": "schedule"})
    backtest = replace(process("backtest", at=1001), kind="backtest")
    assert [each.process_id for each in sort_queue([backtest, manual, calendar, decays])] == [
        "decays",
        "asked",
        "calendar",
        "backtest",
    ]
    later = replace(decays, created_at=999 + 7201.0)
    assert [each.process_id for each in sort_queue([later, calendar])] == ["calendar", "decays"]


@given(st.lists(st.sampled_from(Status)), st.integers(1, 5))
def test_no_more_run_than_may_and_no_place_is_left_empty(statuses, max_processes):
    processes = [process(str(number), status, number) for number, status in enumerate(statuses)]
    running = sum(status in (Status.PENDING, Status.RUNNING) for status in statuses)
    waiting = sum(status is Status.QUEUED for status in statuses)
    starting = startable(processes, max_processes)
    assert all(each.status is Status.QUEUED for each in starting)
    assert len(starting) == min(waiting, max(0, max_processes - running))


async def test_what_is_due_is_launched_again_until_its_runner_has_taken_it(store, clock):
    launcher = Launched()
    for number, name in enumerate("abc"):
        await store.enqueue_process(process(name, at=number))
    assert await start_due(store, launcher, 1, clock) == ("a",)
    assert await start_due(store, launcher, 1, clock) == ("a",)
    await store.claim_process("a", 10)
    assert await start_due(store, launcher, 1, clock) == ()
    assert await start_due(store, launcher, 2, clock) == ("b",)
    assert launcher.ids == ["a", "a", "b"]


async def test_a_runner_that_is_gone_gives_its_place_back(store, clock):
    launcher = Launched()
    for number, name in enumerate("ab"):
        await store.enqueue_process(process(name, at=number))
    await store.claim_process("a", 10)
    clock.advance(11)
    assert (await store.process("a")).status is Status.INTERRUPTED
    assert await start_due(store, launcher, 1, clock) == ("b",)


async def test_a_process_that_was_cancelled_while_it_waited_ends_and_takes_no_place(store, clock):
    launcher = Launched()
    for number, name in enumerate("ab"):
        await store.enqueue_process(process(name, at=number))
    await store.request_cancel("a")
    assert await start_due(store, launcher, 1, clock) == ("b",)
    cancelled_process = await store.process("a")
    assert (cancelled_process.status, cancelled_process.error) == (Status.CANCELLED, "cancelled while it waited")
    assert launcher.ids == ["b"]


async def test_a_cluster_that_is_away_leaves_the_queue_as_it_is(store, clock):
    await store.enqueue_process(process("a"))
    with pytest.raises(Unavailable):
        await start_due(store, Launched(away=True), 1, clock)
    assert (await store.process("a")).status is Status.QUEUED
