"""Supervisor loops, with an agent that only remembers what it was called for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from optagent.domain.retention import Pruning, RetentionPlan
from optagent.domain.rollout_look import RolloutState
from optagent.domain.vital_signs import VitalSigns
from optagent.errors import Unavailable
from optagent.loop.rollout.supervise import SupervisorPass
from optagent.loop.trigger import PolicyPass
from serve_app import supervisor
from serve_app.control import LazyAgent
from serve_app.supervisor import SupervisorLoops


@dataclass
class SlowAgent:
    """An agent whose verbs can be made to hang or to fail."""

    looks: int = 0
    queued: list[int] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    tables: tuple[str, ...] = ("churn",)
    failing: str = ""
    hanging: bool = False
    closed: bool = False
    notified: int = 0
    channel_down: bool = False
    pruned: int = 0
    pruning_error: str = ""

    async def supervise_once(self) -> SupervisorPass:
        self.looks += 1
        if self.failing:
            raise Unavailable(self.failing)
        return SupervisorPass(states={"churn": RolloutState.SHADOW})

    async def vital_signs(self) -> VitalSigns:
        return VitalSigns(5.0, waiting=7)

    async def health(self) -> dict[str, str]:
        return {"redis": "ok"}

    async def start_queued(self, max_processes: int) -> tuple[str, ...]:
        self.queued.append(max_processes)
        return ()

    async def served(self) -> tuple[str, ...]:
        return self.tables

    async def start_monitor(self, model_id: str) -> None:
        while self.hanging:
            await asyncio.sleep(0.01)
        self.watched.append(model_id)

    async def apply_policies_once(self) -> PolicyPass:
        return PolicyPass()

    async def prune_once_a_day(self) -> tuple[Pruning, ...]:
        self.pruned += 1
        plan = RetentionPlan("churn", 0.0)
        return (Pruning(plan), Pruning(plan, error=self.pruning_error)) if self.pruning_error else ()

    async def notify_once(self) -> int:
        self.notified += 1
        if self.channel_down:
            raise Unavailable("not told by slack (HTTP 503)")
        return 0

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def agent() -> SlowAgent:
    return SlowAgent()


@pytest.fixture
async def work(agent: SlowAgent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SupervisorLoops]:
    monkeypatch.setattr(supervisor, "_MONITORS_EVERY_S", 0.01)
    monkeypatch.setattr(supervisor, "_NOTICES_EVERY_S", 0.01)
    monkeypatch.setattr(supervisor, "_RETENTION_EVERY_S", 0.01)

    async def make_agent() -> Any:
        return agent

    states: list[Any] = []
    running = SupervisorLoops(LazyAgent(make_agent), 0.01, 3, states.append)
    running.states = states
    yield running
    await running.close()


@pytest.fixture
async def telling(agent: SlowAgent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SupervisorLoops]:
    """The same with notifications enabled."""
    monkeypatch.setattr(supervisor, "_NOTICES_EVERY_S", 0.01)

    async def make_agent() -> Any:
        return agent

    running = SupervisorLoops(LazyAgent(make_agent), 0.01, 3, notify=True)
    yield running
    await running.close()


async def test_the_figures_of_models_are_published_again_and_again(agent, monkeypatch):
    monkeypatch.setattr(supervisor, "_SIGNS_EVERY_S", 0.01)
    published: list[dict[str, float]] = []

    async def make_agent() -> Any:
        return agent

    running = SupervisorLoops(
        LazyAgent(make_agent),
        0.01,
        3,
        publish_samples=lambda samples: published.append({sample.name: sample.value for sample in samples}),
    )
    await until(lambda: len(published) > 2)
    await running.close()
    assert published[-1]["optagent_queued_processes"] == 7
    assert published[-1]["optagent_part_up"] == 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_rollouts_queue_and_monitors_are_seen_to_again_and_again(agent, work):
    await until(lambda: agent.looks > 2 and len(agent.queued) > 2)
    assert set(agent.queued) == {3}
    assert work.states[-1] == {"churn": "shadow"}
    work.check()


async def test_a_model_is_watched_from_when_it_is_served_and_once(agent, work):
    await until(lambda: agent.watched == ["churn"])
    agent.tables = ("churn", "delays")
    await until(lambda: agent.watched == ["churn", "delays"])
    await asyncio.sleep(0.05)
    assert agent.watched == ["churn", "delays"]


async def test_a_monitor_that_does_not_start_holds_up_nothing_else(agent, work):
    await until(lambda: agent.watched == ["churn"])
    agent.hanging, agent.tables = True, ("churn", "delays")
    looks, queued = agent.looks, len(agent.queued)
    await until(lambda: agent.looks > looks + 3 and len(agent.queued) > queued + 3)
    assert agent.watched == ["churn"]


async def test_what_is_old_is_pruned_and_a_model_that_cannot_be_is_told_once(agent, work, caplog):
    agent.pruning_error = "no disk"
    await until(lambda: agent.pruned > 3)
    assert [record.getMessage() for record in caplog.records] == ["retention: churn: no disk"]


async def test_what_fails_is_told_once_and_tried_again(agent, work, caplog):
    agent.failing = "Redis at redis:6379 does not answer"
    looks = agent.looks
    await until(lambda: agent.looks > looks + 5)
    assert [record.getMessage() for record in caplog.records] == [f"rollouts: {agent.failing}"]
    work.check()
    agent.failing = ""
    work.states.clear()
    await until(lambda: bool(work.states))


async def test_looks_that_do_not_come_back_are_a_reason_to_be_replaced(agent, work, monkeypatch):
    await until(lambda: agent.looks > 0)
    monkeypatch.setattr(supervisor, "_STUCK_S", -1.0)
    with pytest.raises(RuntimeError, match="rollouts were not looked at"):
        work.check()


async def test_closing_ends_the_loops_and_the_agent(agent, work):
    await until(lambda: agent.looks > 0)
    await work.close()
    looks = agent.looks
    await asyncio.sleep(0.05)
    assert agent.looks == looks
    assert agent.closed


async def test_people_are_told_again_and_again_where_that_is_wanted(agent, telling):
    await until(lambda: agent.notified > 2 and agent.looks > 2)


async def test_nobody_is_told_where_that_is_not_wanted(agent, work):
    await until(lambda: agent.looks > 5)
    assert agent.notified == 0


async def test_a_channel_that_is_down_is_said_once_and_holds_up_nothing_else(agent, telling, caplog):
    agent.channel_down = True
    notified, looks = agent.notified, agent.looks
    await until(lambda: agent.notified > notified + 5 and agent.looks > looks + 5)
    assert [record.getMessage() for record in caplog.records] == ["notices: not told by slack (HTTP 503)"]
