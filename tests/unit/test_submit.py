"""Searches that are asked for now and run when there is a place."""

import asyncio
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
from optagent.domain.command import TuneModel
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, ProcessNotFound
from tests.fakes.launcher import InMemoryLauncher

SMALL = TuneModel("churn", method="random", trials=2)


@pytest.fixture
async def registered(agent: Any, churn: dict[str, Any]) -> Any:
    await agent.register_model({**churn, "families": ["linear"], "folds": 2})
    return agent


async def until(agent: Any, process_id: str, reached: Callable[[Process], bool]) -> Process:
    for _ in range(2000):
        process: Process = await agent.process(process_id)
        if reached(process):
            return process
        await asyncio.sleep(0.01)
    raise AssertionError(process)


async def test_a_submitted_search_waits_and_then_ends_as_if_it_had_been_run_at_once(registered):
    waiting = await registered.submit(SMALL)
    assert (waiting.status, waiting.kind, waiting.model_id) == (Status.QUEUED, "tune", "churn")
    assert [process.process_id for process in await registered.processes("churn")] == [waiting.process_id]
    await registered.run_queued(waiting.process_id)
    ended = await registered.process(waiting.process_id)
    assert ended.status is Status.SUCCEEDED
    assert ended.result is not None
    assert (ended.result["trials"], ended.result["process_id"]) == (2, waiting.process_id)
    assert [version.version for version in await registered.versions("churn")] == ["1"]


async def test_what_cannot_be_searched_is_refused_before_it_waits(registered):
    with pytest.raises(ModelNotFound, match="nobody"):
        await registered.submit(TuneModel("nobody"))
    with pytest.raises(InvalidRequest, match="rmse"):
        await registered.submit(TuneModel("churn", objectives=("rmse",)))
    assert await registered.processes() == []


async def test_a_process_is_run_by_one_runner_only(registered):
    waiting = await registered.submit(SMALL)
    outcomes = await asyncio.gather(
        *(registered.run_queued(waiting.process_id) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Conflict, Conflict]
    assert (await registered.process(waiting.process_id)).status is Status.SUCCEEDED
    with pytest.raises(ProcessNotFound):
        await registered.run_queued("tune-0")


async def test_one_that_was_cancelled_on_its_way_to_a_runner_never_begins(registered):
    waiting = await registered.submit(SMALL)
    await registered.cancel(waiting.process_id)
    with pytest.raises(Exception, match="cancelled before prepare"):
        await registered.run_queued(waiting.process_id)
    ended = await registered.process(waiting.process_id)
    assert (ended.status, ended.stage) == (Status.CANCELLED, None)


async def test_a_search_that_fails_says_why_in_its_process(registered, rows_file):
    waiting = await registered.submit(SMALL)
    rows_file.unlink()
    with pytest.raises(InvalidRequest):
        await registered.run_queued(waiting.process_id)
    ended = await registered.process(waiting.process_id)
    assert ended.status is Status.FAILED
    assert str(rows_file) in ended.error


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
        await until(agent, first.process_id, lambda process: process.status.ended)
        assert await agent.start_queued(1) == (second.process_id,)
        ended = await until(agent, second.process_id, lambda process: process.status.ended)
        assert ended.status is Status.SUCCEEDED
        await asyncio.to_thread(launcher.close)
