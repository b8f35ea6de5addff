"""Optimization: the whole loop for a model, by hand and by policy, in memory; killed at any write, it goes on."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.domain.command import OptimizeModel
from optagent.domain.monitoring import Window
from optagent.domain.process import Status
from optagent.errors import Conflict, Unavailable
from optagent.loop.observe.labelled_rows import store_labelled_rows
from optagent.loop.observe.reference import decode_reference

NOW = 1_700_000_000.0
DAY = 86_400.0


def rows(count: int, seed: int = 0, turned: bool = False, start: float = NOW - 2000 * DAY) -> pa.Table:
    """Rows whose label depends on `a`, or with `turned` on `b`."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, count))
    signal = (2 * b if turned else 2 * a) + 0.5 * c + rng.logistic(size=count) * 0.5
    times = ((start + np.arange(count) * DAY) * 1e6).astype("int64").astype("datetime64[us]")
    return pa.table({"day": times, "a": a, "b": b, "c": c, "label": np.where(signal > 0, "yes", "no")})


class World:
    """Everything that outlives a runner, and agents that work on it."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.store: Any = InMemoryStore(self.clock)
        self.registry: Any = InMemoryRegistry(self.clock)
        self.observations = InMemoryObservations()

    async def agent(self, strict: bool = False, **others: Any) -> OptimizationAgent:
        ports = {"store": self.store, "registry": self.registry, **others}
        return await create_optimization_agent(
            strict=strict,
            clock=self.clock,
            tracker=InMemoryTracker(),
            observations=self.observations,
            tuner=SequentialTuner(),
            workers=SequentialWorkers(),
            early_stopping_rounds=10,
            **ports,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    pq.write_table(rows(1500), tmp_path / "rows.parquet")
    return {
        "id": "churn",
        "task": "binary",
        "data": str(tmp_path / "rows.parquet"),
        "target": "label",
        "time_column": "day",
        "label_horizon": "1d",
        "families": ["linear"],
        "folds": 2,
        "metric": "log_loss",
        "monitoring": {"performance_window_hours": 24.0 * 400, "false_alarm_every": "4000d"},
    }


async def live(agent: OptimizationAgent, world: World, count: int = 1500, turned: bool = True) -> None:
    """Rows since the model was made, answered by the champion and labelled."""
    table = rows(count, seed=3, turned=turned, start=NOW + DAY)
    ids = [f"row {index}" for index in range(count)]
    columns = {"id": ids, "time": table["day"], "prediction": ["no"] * count}
    probability = np.clip(1 / (1 + np.exp(-2 * table["a"].to_numpy())), 0.01, 0.99)
    answers = {**columns, "probability_yes": probability, "probability_no": 1 - probability}
    answers["prediction"] = np.where(probability >= 0.5, "yes", "no").tolist()
    features = {name: table[name] for name in ("a", "b", "c")}
    await agent.record_predictions("churn", pa.table({**answers, **features}))
    await agent.record_labels("churn", pa.table({"id": ids, "time": table["day"], "label": table["label"]}))
    world.clock.advance((count + 3) * DAY)
    await agent.watch_once("churn")


async def test_what_is_asked_for_by_hand_ends_in_a_champion_and_then_in_a_challenger_that_learned_from_live_rows(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        first = await agent.optimize_model("churn", "retrain")
        assert (first.status, first.aliases, first.live_rows) == ("success", ("champion",), 0)
        assert f"{first.improvement_percentage:.2f}%" == "0.00%"
        assert [stage["stage"] for stage in first.stages] == ["analyze", "prepare", "build", "gate", "deploy"]
        await live(agent, world)
        second = await agent.optimize_model("churn", "retrain", time_range=f"{NOW}..{world.clock.now()}")
        assert second.status == "success", second.error_message
        assert second.live_rows > 1000
        assert second.aliases == ("challenger",)
        assert second.improvement_percentage is not None
        assert second.improvement_percentage > 20
        assert second.new_metrics is not None
        assert second.new_metrics.accuracy > 0.75 > second.old_metrics.accuracy  # type: ignore[union-attr]
        assert second.diagnosis is not None
        assert second.window != "expanding"
        assert [version.version for version in await agent.versions("churn")] == ["2", "1"]
        (newest, oldest) = [entry for entry in await agent.audit() if entry.action == "optimize.judged"]
        assert (newest.outcome, newest.detail["version"], oldest.outcome) == ("pass", "2", "pass")
        assert (await agent.verify_audit()).broken is None


async def test_nothing_that_misses_a_gate_is_given_an_alias(world: World, fields: dict[str, Any]):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        result = await agent.optimize_model("churn", "retrain", gates={"accuracy_min": 0.999})
        assert (result.status, result.verdict, result.aliases) == ("rejected", "fail", ())
        assert "accuracy_min: fail" in str(result.error_message)
        assert (await agent.versions("churn"))[0].aliases == ()
        again = await agent.optimize_model("churn", "retrain")
        assert again.aliases == ("champion",)
        same = await agent.optimize_model("churn", "retrain")
        assert (same.status, same.verdict, same.looks) == ("rejected", "inconclusive", 3)


async def test_auto_does_what_the_diagnosis_asks_for_and_nothing_where_it_asks_for_nothing(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        idle = await agent.optimize_model("churn", "auto")
        assert (idle.status, idle.version) == ("unchanged", None)
        assert "there is nothing to do" in str(idle.error_message)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        result = await agent.optimize_model("churn", "auto", time_range=f"{NOW}..{world.clock.now()}")
        assert result.status == "success", (result.error_message, result.diagnosis)


@pytest.mark.parametrize(
    ("model_id", "arguments", "message"),
    [
        ("nobody", {}, "nobody"),
        ("churn", {"optimization_type": "magic"}, "unknown optimization_type 'magic'"),
        ("churn", {"action": "notify"}, "unknown action 'notify'"),
        ("churn", {"window": "sometimes"}, "unknown window 'sometimes'"),
        ("churn", {"gates": {"accuracy_mi": 1}}, "unknown gate 'accuracy_mi'"),
        ("churn", {"gates": {"rmse_max": 1}}, "rmse"),
        ("churn", {"gates": {"accuracy_min": float("nan")}}, "accuracy_min must be a finite number, got nan"),
        ("churn", {"trials": 0}, "trials must be a whole number of at least 1, got 0"),
        ("churn", {"colour": "red"}, "unknown argument colour"),
    ],
)
async def test_what_cannot_be_is_refused_before_it_begins(
    world: World, fields: dict[str, Any], model_id: str, arguments: dict[str, Any], message: str
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        result = await agent.optimize_model(model_id, **arguments)
        assert (result.status, message in str(result.error_message)) == ("failed", True), result.error_message
        assert await agent.processes() == []


async def test_data_that_vanished_or_has_one_class_left_parks_the_run_with_the_reason(
    world: World, fields: dict[str, Any], tmp_path: Path
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        table = rows(1500).set_column(4, "label", pa.array(["yes"] * 1500))
        pq.write_table(table, tmp_path / "rows.parquet")
        result = await agent.optimize_model("churn", "retrain")
        assert result.status == "unchanged"
        assert "cannot be learned from" in str(result.error_message)
        (tmp_path / "rows.parquet").unlink()
        assert (await agent.optimize_model("churn", "retrain")).status == "unchanged"


async def test_a_policy_starts_a_run_once_whoever_looks_and_not_again_within_its_cooldown(
    world: World, fields: dict[str, Any]
):
    policy = {
        "triggers": ["degradation", "concept_drift"],
        "action": "full",
        "optimization_type": "retrain",
        "cooldown": "10d",
    }
    async with await world.agent() as agent, await world.agent() as other:
        await agent.register_model({**fields, "policy": policy})
        assert await agent.trigger_once() == ()
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        assert {str(alert.kind) for alert in await agent.alerts("churn")} & {"performance", "concept drift"}
        answers = await asyncio.gather(agent.trigger_once(), other.trigger_once())
        (process,) = [process for answer in answers for process in answer]
        assert await agent.trigger_once() == ()
        await other.run_queued(process.process_id)
        process_now = await agent.process(process.process_id)
        assert process_now.result is not None
        assert (process_now.status, process_now.result["status"]) == (Status.SUCCEEDED, "success")
        assert process_now.result["trigger"] in ("degradation", "concept_drift")
        assert process_now.result["rollout_id"] is None  # this agent routes no requests
        assert await agent.trigger_once() == ()


class Killed(BaseException):
    """The end of a runner, which does nothing more."""


class Mortal:
    """A port whose `at`-th write is the last thing that its runner does: before it, or right after."""

    def __init__(self, port: Any, life: "Life") -> None:
        self._port, self._life = port, life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(method):
            return self._life.wrap(method) if name in WRITES else method

        async def call(*arguments: Any, **named: Any) -> Any:
            self._life.before(name)
            answer = await method(*arguments, **named)
            self._life.after(name)
            return answer

        return call


WRITES = {"save_process", "append_audit", "spend_look", "settle_look", "register", "set_alias", "save_reference"}


class Life:
    def __init__(self, ends_at: int | None = None, after: bool = False) -> None:
        self.writes, self._ends_at, self._after, self.dead = 0, ends_at, after, False

    def before(self, name: str) -> None:
        if self.dead:
            raise Killed
        if name in WRITES:
            self.writes += 1
            if self.writes == self._ends_at and not self._after:
                self.dead = True
                raise Killed

    def after(self, name: str) -> None:
        if name in WRITES and self.writes == self._ends_at:
            self.dead = True
        if self.dead:
            raise Killed

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.before(method.__name__)
            answer = method(*arguments, **named)
            self.after(method.__name__)
            return answer

        return call


PAID_ONCE = ("analyze", "engineer", "search", "ensemble", "gate")


COMMAND = {"trials": 2, "ensemble": 2, "timeout_s": 30}


@pytest.fixture
async def turned_world(world: World, fields: dict[str, Any]) -> World:
    """A model with a champion that is worse than what can be found."""
    async with await world.agent(strict=True) as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
    return world


async def submit_full(world: World) -> str:
    async with await world.agent(strict=True) as agent:
        command = OptimizeModel("churn", "full", time_range=f"{NOW}..{NOW + 1500 * DAY}", **COMMAND)
        return (await agent.submit(command)).process_id


async def one_runner(world: World, process_id: str, life: Life) -> None:
    """It may die; whatever it was at, its lease runs out."""
    agent = await world.agent(strict=True, store=Mortal(world.store, life), registry=Mortal(world.registry, life))
    try:
        await agent.run_queued(process_id)
    except (Killed, Conflict):
        assert life.dead
    world.clock.advance(60.0)


async def test_a_runner_that_takes_over_begins_anew_where_labels_of_earlier_rows_have_come_meanwhile(
    turned_world: World,
):
    world = turned_world
    process_id = await submit_full(world)
    await one_runner(world, process_id, Life(12))
    async with await world.agent(strict=True) as agent:
        before = (await agent.process(process_id)).kept["rows"]["rows"]
        table = rows(50, seed=9, turned=True, start=NOW + DAY)
        ids = [f"late {index}" for index in range(50)]
        answers = {"id": ids, "time": table["day"], "prediction": ["no"] * 50, "probability_yes": [0.4] * 50}
        features = {name: table[name] for name in ("a", "b", "c")}
        await agent.record_predictions("churn", pa.table({**answers, "probability_no": [0.6] * 50, **features}))
        await agent.record_labels("churn", pa.table({"id": ids, "time": table["day"], "label": table["label"]}))
        await agent.analyze_model("churn", time_range=f"{NOW}..{NOW + 60 * DAY}")
        spec = await agent.model("churn")
        reference = decode_reference(world.observations.reference("churn", "1"))
        store_labelled_rows(world.observations, spec, reference.schema, Window(NOW, NOW + 60 * DAY))
        await agent.run_queued(process_id)
        process_now = await agent.process(process_id)
        assert process_now.result is not None
        assert process_now.result["status"] in ("success", "rejected")
        assert process_now.kept["rows"]["rows"] > before


@pytest.mark.timeout(600)
async def test_killed_at_any_write_another_runner_ends_it_and_pays_for_no_stage_twice(turned_world: World):
    world, unlimited_life = turned_world, Life()
    await one_runner(world, await submit_full(world), unlimited_life)
    assert unlimited_life.writes > 20
    # At every write, before it is done or right after, in turn.
    for at in range(1, unlimited_life.writes + 1):
        process_id, life = await submit_full(world), Life(at, after=at % 2 == 0)
        await one_runner(world, process_id, life)
        async with await world.agent(strict=True) as agent:
            if not (await agent.process(process_id)).status.has_ended:
                await agent.run_queued(process_id)
            process = await agent.process(process_id)
            assert process.status is Status.SUCCEEDED, (at, process.error)
            assert process.result is not None
            assert (process.result["status"], process.result["aliases"]) == ("success", ["challenger"]), at
            newest, *older, first = await agent.versions("churn")
            assert (newest.version, newest.tags["process_id"]) == (str(at + 2), process_id), at
            assert (newest.aliases, first.aliases) == (("challenger",), ("champion",)), at
            assert not any(version.aliases for version in older), at
            stages = Counter(event.detail["stage"] for event in process.history if event.kind == "stage")
            assert sum(stages[name] - 1 for name in PAID_ONCE if stages[name]) <= 1, (at, stages)
            looks = await world.store.looks("churn")
            assert [look.number for look in looks] == list(range(1, at + 3)), at  # with that of the first model
            assert all(look.verdict is not None for look in looks), at
    async with await world.agent(strict=True) as agent:
        assert (await agent.verify_audit()).broken is None


class Away:
    """A registry that is away for the first `times` registrations."""

    def __init__(self, registry: Any, times: int) -> None:
        self._registry, self.times = registry, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def register(self, *arguments: Any, **named: Any) -> Any:
        if self.times:
            self.times -= 1
            raise Unavailable("the registry does not answer")
        return self._registry.register(*arguments, **named)


async def test_where_something_outside_is_away_the_process_waits_for_another_runner(turned_world: World):
    world = turned_world
    process_id = await submit_full(world)
    registry = Away(world.registry, 1)
    async with await world.agent(strict=True, registry=registry) as agent:
        with pytest.raises(Unavailable):
            await agent.run_queued(process_id)
        world.clock.advance(60.0)
        waiting = await agent.process(process_id)
        assert (waiting.status, waiting.error) == (Status.QUEUED, "the registry does not answer")
        await agent.run_queued(process_id)
        process_now = await agent.process(process_id)
        assert (process_now.status, process_now.error) == (Status.SUCCEEDED, None)
        stages = Counter(event.detail["stage"] for event in process_now.history if event.kind == "stage")
        assert [stages[name] for name in PAID_ONCE] == [1] * len(PAID_ONCE)


async def test_what_stays_away_is_given_up_with_the_reason(turned_world: World):
    world = turned_world
    process_id = await submit_full(world)
    async with await world.agent(strict=True, registry=Away(world.registry, 99)) as agent:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await agent.run_queued(process_id)
            world.clock.advance(60.0)
        process_now = await agent.process(process_id)
        assert (process_now.status, process_now.error) == (Status.FAILED, "the registry does not answer")
