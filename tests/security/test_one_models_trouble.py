"""One model's trouble is that model's alone: policies, monitors, lists and notices of all others go on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.policy import RetrainingPolicy, Trigger
from optagent.domain.process import Process, Status
from optagent.errors import OptAgentError, Unavailable
from optagent.loop.rollout.supervise import SupervisorPass
from optagent.loop.trigger import gather_facts
from serve_app import supervisor
from serve_app.control import LazyAgent
from serve_app.supervisor import SupervisorLoops
from tests.api.conftest import Call

DAY_S = 86_400.0
MONTHLY = RetrainingPolicy(triggers=(Trigger.SCHEDULE,), every="30d", cooldown="1d", most_a_year=3)
BROKEN = b'{"written": "by a later version"}'


@pytest.fixture
async def due_models(agent: OptimizationAgent, store: InMemoryStore, clock: ManualClock, churn: dict[str, Any]) -> None:
    """Two models with champions that are old enough for their policies."""
    for model_id in ("alpha", "beta"):
        spec = await agent.register_model({**churn, "id": model_id})
        await agent.tune_hyperparameters(model_id, method="random", trials=1)
        await store.save_model(replace(spec, policy=MONTHLY))
    clock.advance(31 * DAY_S)


@pytest.mark.usefixtures("due_models")
async def test_a_model_whose_facts_cannot_be_read_stops_no_policy_of_others(
    agent: OptimizationAgent, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    observations = agent._ports.observations
    assert observations is not None
    newest = observations.latest_prediction_time

    def fail_for_alpha(model_id: str) -> float | None:
        if model_id == "alpha":
            raise Unavailable("the manifest of alpha cannot be read")
        return newest(model_id)

    monkeypatch.setattr(observations, "latest_prediction_time", fail_for_alpha)
    with pytest.raises(OptAgentError, match="alpha: the manifest of alpha cannot be read"):
        await agent.trigger_once()
    queued = await store.processes()
    assert [(process.model_id, process.kind) for process in queued if process.status is Status.QUEUED] == [
        ("beta", "optimize")
    ]


@pytest.mark.usefixtures("due_models")
async def test_a_defect_that_one_models_policy_meets_is_reported_by_model(
    agent: OptimizationAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = agent._ports.store.rollouts

    async def fail_for_alpha(model_id: str | None = None, limit: int = 100) -> list[Any]:
        if model_id == "alpha":
            raise ZeroDivisionError
        return await rollouts(model_id, limit)

    monkeypatch.setattr(agent._ports.store, "rollouts", fail_for_alpha)
    policy_pass = await agent.apply_policies_once()
    assert [process.model_id for process in policy_pass.queued] == ["beta"]
    assert policy_pass.errors == {"alpha": "ZeroDivisionError: "}


@pytest.mark.usefixtures("due_models")
async def test_runs_of_a_year_count_whatever_else_the_model_ran_since(
    agent: OptimizationAgent, store: InMemoryStore, clock: ManualClock
) -> None:
    for days in (300, 200, 40):
        at = clock.now() - days * DAY_S
        await store.create_process(Process(f"o-{days}", "optimize", "beta", Status.SUCCEEDED, at, at), 60.0)
    for number in range(450):
        at = clock.now() - number
        await store.create_process(Process(f"t-{number}", "tune", "beta", Status.SUCCEEDED, at, at), 60.0)
    facts = await gather_facts(await store.model("beta"), agent._ports)
    assert len(facts.runs) == 3
    await agent.trigger_once()
    queued = [process for process in await store.processes() if process.status is Status.QUEUED]
    assert [process.model_id for process in queued] == ["alpha"]  # beta has had its three of this year


async def test_a_policy_is_not_kept_out_by_a_full_queue(
    agent: OptimizationAgent, store: InMemoryStore, due_models: None
) -> None:
    for number in range(1000):
        await store.enqueue_process(Process(f"p-{number}", "tune", "beta", Status.QUEUED, 0.0, 0.0))
    assert len(await agent.trigger_once()) == 2
    own = [entry for entry in await agent.audit() if (entry.actor, entry.action) == ("optagent", "process.submit")]
    assert sorted(entry.target for entry in own) == ["alpha", "beta"]


async def test_a_model_that_cannot_be_read_hides_no_other_over_http_and_health_names_it(
    store: InMemoryStore, call: Call, clock: ManualClock
) -> None:
    for name in ("a", "b"):
        await store.save_model(ModelSpec(name, Task.BINARY, FileSource("rows.parquet"), "y"))
    store._models["a"] = BROKEN
    answer = await call("read", "GET", "/models")
    assert (answer.status_code, [model["model_id"] for model in answer.json()]) == (200, ["b"])
    clock.advance(2)
    health = await call("read", "GET", "/optimization/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert "ModelSpec 'a' cannot be read" in health.json()["parts"]["records"]
    page = await call("read", "GET", "http://optagent/dashboard", follow_redirects=False)
    assert page.status_code in (200, 303)


async def test_strangers_are_not_told_which_record_cannot_be_read(
    store: InMemoryStore, client: Any, clock: ManualClock
) -> None:
    store._models["secret-model"] = BROKEN
    clock.advance(2)
    health = await client.get("/optimization/health")
    assert (health.status_code, health.json()["parts"]["records"]) == (200, "down")
    assert "secret-model" not in health.text


class TroubledAgent:
    """An agent of which one model's monitor never starts, and one model's policy fails anew each time."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.tries = 0

    async def supervise_once(self) -> SupervisorPass:
        return SupervisorPass(errors={"alpha": f"no answer, waited {self.tries}.5 s"})

    async def start_queued(self, max_processes: int) -> tuple[str, ...]:
        return ()

    async def prune_once_a_day(self) -> tuple[Any, ...]:
        return ()

    async def served(self) -> tuple[str, ...]:
        return "alpha", "beta", "gamma"

    async def start_monitor(self, model_id: str) -> None:
        if model_id == "alpha":
            self.tries += 1
            raise Unavailable(f"the monitor does not come up (try {self.tries})")
        self.watched.append(model_id)

    async def seed_histories_once(self) -> Any:
        from optagent.loop.seed_history import SeedingPass

        return SeedingPass()

    async def apply_policies_once(self) -> Any:
        from optagent.loop.trigger import PolicyPass

        return PolicyPass(errors={"alpha": f"try {self.tries}", "beta": "no champion"})

    async def close(self) -> None: ...


@pytest.fixture
async def troubled(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TroubledAgent]:
    monkeypatch.setattr(supervisor, "_MONITORS_EVERY_S", 0.01)
    agent = TroubledAgent()

    async def make_agent() -> Any:
        return agent

    loops = SupervisorLoops(LazyAgent(make_agent), 0.01, 2, policies_every_s=0.01)
    yield agent
    await loops.close()


async def test_a_monitor_that_does_not_start_stops_no_other_and_is_logged_once(
    troubled: TroubledAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with asyncio.timeout(30):
        while troubled.tries < 5:
            await asyncio.sleep(0.01)
    assert troubled.watched == ["beta", "gamma"]
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    messages = sorted(record.getMessage().partition(" (try")[0] for record in records)
    assert [message.partition(",")[0].rstrip("0123456789") for message in messages] == [
        "monitors: alpha: the monitor does not come up",
        "policies: alpha: try ",
        "policies: beta: no champion",
        "rollouts: alpha: no answer",
    ]
