"""Submitted searches: they wait in the queue, and run when there is a place."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.domain.command import OptimizeModel, TuneModel
from optagent.domain.process import Process, Status
from optagent.errors import Cancelled, Conflict, InvalidRequest, LeaseLost, ModelNotFound, ProcessNotFound
from optagent.loop.process import LEASE_S
from tests.fakes.launcher import InMemoryLauncher

SMALL = TuneModel("churn", method="random", trials=2)


@pytest.fixture
async def churn_agent(agent: Any, churn: dict[str, Any]) -> Any:
    await agent.register_model({**churn, "families": ["linear"], "folds": 2})
    return agent


async def until(agent: Any, process_id: str, reached: Callable[[Process], bool]) -> Process:
    for _ in range(2000):
        process: Process = await agent.process(process_id)
        if reached(process):
            return process
        await asyncio.sleep(0.01)
    raise AssertionError(process)


async def test_a_submitted_search_waits_and_then_ends_as_if_it_had_been_run_at_once(churn_agent):
    waiting = await churn_agent.submit(SMALL)
    assert (waiting.status, waiting.kind, waiting.model_id) == (Status.QUEUED, "tune", "churn")
    assert [process.process_id for process in await churn_agent.processes("churn")] == [waiting.process_id]
    await churn_agent.run_queued(waiting.process_id)
    process = await churn_agent.process(waiting.process_id)
    assert process.status is Status.SUCCEEDED
    assert process.result is not None
    assert (process.result["trials"], process.result["process_id"]) == (2, waiting.process_id)
    assert [version.version for version in await churn_agent.versions("churn")] == ["1"]


async def test_what_cannot_be_searched_is_refused_before_it_waits(churn_agent):
    with pytest.raises(ModelNotFound, match="nobody"):
        await churn_agent.submit(TuneModel("nobody"))
    with pytest.raises(InvalidRequest, match="rmse"):
        await churn_agent.submit(TuneModel("churn", objectives=("rmse",)))
    assert await churn_agent.processes() == []


async def test_a_process_is_run_by_one_runner_only(churn_agent):
    waiting = await churn_agent.submit(SMALL)
    outcomes = await asyncio.gather(
        *(churn_agent.run_queued(waiting.process_id) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Conflict, Conflict]
    assert (await churn_agent.process(waiting.process_id)).status is Status.SUCCEEDED
    with pytest.raises(ProcessNotFound):
        await churn_agent.run_queued("tune-0")


async def test_one_that_was_cancelled_on_its_way_to_a_runner_never_begins(churn_agent):
    waiting = await churn_agent.submit(SMALL)
    await churn_agent.cancel(waiting.process_id)
    with pytest.raises(Exception, match="cancelled before prepare"):
        await churn_agent.run_queued(waiting.process_id)
    process = await churn_agent.process(waiting.process_id)
    assert (process.status, process.stage) == (Status.CANCELLED, None)


async def test_a_search_that_fails_says_why_in_its_process(churn_agent, rows_file):
    waiting = await churn_agent.submit(SMALL)
    rows_file.unlink()
    with pytest.raises(InvalidRequest):
        await churn_agent.run_queued(waiting.process_id)
    process = await churn_agent.process(waiting.process_id)
    assert process.status is Status.FAILED
    assert str(rows_file) in process.error


async def test_the_queue_is_worked_off_one_after_the_other(churn):
    clock, agents = ManualClock(1000.0), []
    launcher = InMemoryLauncher(lambda process_id: agents[0].run_queued(process_id))
    ports = {"store": InMemoryStore(clock), "registry": InMemoryRegistry(clock), "tracker": InMemoryTracker()}
    ports |= {"observations": InMemoryObservations(), "tuner": SequentialTuner(), "launcher": launcher, "clock": clock}
    async with await create_optimization_agent(strict=True, **ports) as agent:
        agents.append(agent)
        await agent.register_model({**churn, "families": ["linear"], "folds": 2})
        first = await agent.submit(SMALL)
        clock.advance(1)
        second = await agent.submit(SMALL)
        assert await agent.start_queued(1) == (first.process_id,)
        await until(agent, first.process_id, lambda process: process.status is not Status.QUEUED)
        assert await agent.start_queued(1) == ()
        await until(agent, first.process_id, lambda process: process.status.has_ended)
        assert await agent.start_queued(1) == (second.process_id,)
        process = await until(agent, second.process_id, lambda process: process.status.has_ended)
        assert process.status is Status.SUCCEEDED
        await asyncio.to_thread(launcher.close)


class EndlessTuner(SequentialTuner):
    """Searches until it is asked to stop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.stopped = threading.Event()
        self._loop = asyncio.get_running_loop()

    def search(self, study: Any, problem: Any, *, cancelled: Callable[[], bool], **options: Any) -> Any:
        self._loop.call_soon_threadsafe(self.begun.set)
        while not cancelled():
            time.sleep(0.001)
        self.stopped.set()
        raise Cancelled("the search was cancelled")


@pytest.mark.parametrize("command", [SMALL, OptimizeModel("churn", "tune", trials=2)])
async def test_a_search_whose_process_another_runner_took_is_stopped_and_leaves_its_tracking_open(churn, command):
    clock, tuner, tracker = ManualClock(1000.0), EndlessTuner(), InMemoryTracker()
    store = InMemoryStore(clock)
    ports = {"store": store, "registry": InMemoryRegistry(clock), "tracker": tracker, "clock": clock}
    ports |= {"observations": InMemoryObservations(), "tuner": tuner}
    async with await create_optimization_agent(strict=True, **ports) as agent:
        await agent.register_model({**churn, "families": ["linear"], "folds": 2})
        process_id = (await agent.submit(command)).process_id
        running = asyncio.create_task(agent.run_queued(process_id))
        await asyncio.wait_for(tuner.begun.wait(), 60)
        clock.advance(LEASE_S + 1)
        successor = await store.claim_process(process_id, LEASE_S)
        with pytest.raises(LeaseLost, match=process_id):
            await asyncio.wait_for(running, 60)
        assert await asyncio.to_thread(tuner.stopped.wait, 60)
        assert await store.process(process_id) == successor
    assert [tracked.succeeded for tracked in tracker.studies.values()] == [None]
