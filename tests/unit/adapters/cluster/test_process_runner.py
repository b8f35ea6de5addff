"""The work of one queued process, whatever becomes of it."""

import logging

import pytest

from optagent.adapters.cluster import process_runner
from optagent.adapters.cluster.process_runner import run_process_of
from optagent.errors import Conflict, LeaseLost, SearchFailed, Unavailable


class Agent:
    def __init__(self, raising: Exception | None = None) -> None:
        self.ran: list[str] = []
        self.closed = False
        self._raising = raising

    async def run_queued(self, process_id: str) -> None:
        self.ran.append(process_id)
        if self._raising is not None:
            raise self._raising

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "raised",
    [
        None,
        Conflict("another has it"),
        LeaseLost("another took it"),
        SearchFailed("no trial"),
        ValueError("a fault of ours"),
    ],
)
async def test_the_agent_is_closed_however_the_work_ends(raised):
    agent = Agent(raised)

    async def recipe() -> Agent:
        return agent

    await run_process_of("tune-1", recipe)
    assert (agent.ran, agent.closed) == (["tune-1"], True)


async def test_a_process_that_another_runner_took_over_is_told_once(caplog):
    async def recipe() -> Agent:
        return Agent(LeaseLost("process 'tune-1' was taken over"))

    with caplog.at_level(logging.INFO):
        await run_process_of("tune-1", recipe)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "stopped: process 'tune-1' was taken over")
    ]


async def test_a_store_that_is_away_is_waited_for(monkeypatch):
    monkeypatch.setattr(process_runner, "_PAUSE_S", 0.001)
    agent, tries = Agent(), 0

    async def recipe() -> Agent:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Unavailable("Redis is away")
        return agent

    await run_process_of("tune-1", recipe)
    assert (tries, agent.ran) == (4, ["tune-1"])
