"""A world in which only engineered features help: `auto` climbs from retrain to re-tune to re-engineer, in memory."""

from collections.abc import AsyncIterator
from dataclasses import replace
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
from optagent.backtest.simulate import simulate
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk, Contender
from optagent.domain.diagnosis import Diagnosis, Remedy
from optagent.domain.model import CHAMPION
from optagent.domain.monitoring import Window
from optagent.domain.policy import Action, RetrainingPolicy
from optagent.domain.process import Process, Status
from optagent.domain.remedy_ladder import LADDER
from optagent.domain.rollout import AUTOMATIC, Rollout, Transition
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.loop.train.load import load_version

DAY_S = 86_400.0
A_DAY = 192  # rows
CHANGE = 6  # the day on which the world changes
BEGIN = 19_000 * DAY_S
POLICY = {"action": "full", "trials": 3, "cooldown": "2d", "window": "4d"}
FIELDS: dict[str, Any] = {
    "id": "power",
    "task": "binary",
    "target": "label",
    "time_column": "at",
    "folds": 2,
    "families": ["linear"],
    "metric": "auc",
    "monitoring": {"performance_window_hours": 48},
}


def rows(first: int, days: int) -> pa.Table:
    """From day `first` on: the label goes by `a`, after the change by `b` times `c`, which is not linear."""
    rng = np.random.default_rng(first)
    count = days * A_DAY
    a, b, c = rng.normal(size=(3, count))
    day = first + np.arange(count) / A_DAY
    signal = np.where(day >= CHANGE, 0.7 * a + 2.5 * b * c, 2.5 * a) + rng.logistic(scale=0.5, size=count)
    at = ((BEGIN + day * DAY_S) * 1e6).astype("int64").astype("datetime64[us]")
    return pa.table({"at": at, "a": a, "b": b, "c": c, "label": np.where(signal > 0, "yes", "no")})


class World:
    """An agent in memory, and days that pass: the champion answers, labels come, the monitor and the policy look."""

    def __init__(self, agent: OptimizationAgent, clock: ManualClock, store: InMemoryStore, registry: Any) -> None:
        self.agent, self.clock, self.store, self.registry, self.day = agent, clock, store, registry, 4

    async def two_days(self) -> list[Process]:
        """The optimizations that were started at their end, ended."""
        table = rows(self.day, 2)
        champion = self.registry.version("power", CHAMPION)
        ids = [f"{self.day}:{index}" for index in range(table.num_rows)]
        answer = load_version(champion, self.registry).probabilities(table)
        answers = {"id": ids, "time": table["at"], "probability": answer, "version": [champion.version] * len(ids)}
        await self.agent.record_predictions("power", pa.table({**answers, **{name: table[name] for name in "abc"}}))
        await self.agent.record_labels("power", pa.table({"id": ids, "time": table["at"], "label": table["label"]}))
        self.day += 2
        self.clock.advance(BEGIN + self.day * DAY_S - self.clock.now())
        monitor_pass = await self.agent.watch_once("power")
        assert monitor_pass.error is None
        processes = await self.agent.trigger_once()
        for process in processes:
            await self.agent.run_queued(process.process_id)
        return [await self.agent.process(process.process_id) for process in processes]

    async def diagnosis(self) -> Diagnosis:
        """Of the last two days, which have passed, so that their analysis is kept."""
        end = BEGIN + self.day * DAY_S
        report = await self.agent.analyze_model("power", time_range=Window(end - 2 * DAY_S, end))
        assert report.diagnosis is not None
        return report.diagnosis

    async def past(self, name: str, optimization_type: str = "retrain", **result: Any) -> None:
        """An optimization that ended now."""
        now = self.clock.now()
        fields = {"status": "rejected", "verdict": "fail", "optimization_type": optimization_type, **result}
        outputs = {"rows": {"until": now}, "gate": {"evidence": {"champion_version": "1"}}}
        process = Process(
            f"optimize-{name}", "optimize", "power", Status.SUCCEEDED, now, now, result=fields, kept=outputs
        )
        await self.store.create_process(process, 60.0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Four days are known, of which a champion was made."""
    pq.write_table(rows(0, 4), tmp_path / "rows.parquet")
    clock = ManualClock(BEGIN + 4 * DAY_S)
    store, registry = InMemoryStore(clock), InMemoryRegistry(clock)
    agent = await create_optimization_agent(
        strict=True,
        clock=clock,
        store=store,
        registry=registry,
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
        workers=SequentialWorkers(),
    )
    async with agent:
        await agent.register_model({**FIELDS, "data": str(tmp_path / "rows.parquet"), "policy": POLICY})
        await agent.optimize_model("power", "retrain")
        yield World(agent, clock, store, registry)


async def test_where_retraining_and_re_tuning_do_not_help_a_policy_gets_to_the_features_that_do(world: World):
    assert await world.two_days() == []
    assert (await world.diagnosis()).remedy is Remedy.NOTHING
    results = []
    for _ in range(3):
        (process,) = await world.two_days()
        assert process.result is not None
        results.append(process.result)
    assert [result["diagnosis"]["remedy"] for result in results] == ["retrain", "re-tune", "re-engineer"]
    assert [result["status"] for result in results] == ["rejected", "rejected", "success"]
    assert "tried without success: retrain, re-tune" in results[2]["diagnosis"]["reasons"]
    assert any("b" in name and "c" in name for name in results[2]["features"])
    assert results[2]["new_metrics"]["auc"] > results[2]["old_metrics"]["auc"] + 0.15


@pytest.fixture
async def troubled_world(world: World) -> World:
    """The world has changed, an alert is open, and the policy's own run is out of the way."""
    spec = await world.agent.model("power")
    await world.store.save_model(replace(spec, policy=None))
    await world.two_days()
    await world.two_days()
    assert (await world.diagnosis()).remedy is Remedy.RETRAIN
    return world


async def test_a_kept_analysis_is_made_anew_once_another_remedy_has_failed(troubled_world: World):
    before = await troubled_world.diagnosis()
    assert not any("tried" in reason for reason in before.reasons)
    await troubled_world.past("one")
    after = await troubled_world.diagnosis()
    assert (after.remedy, after.alternatives[0]) == (Remedy.RE_TUNE, Remedy.RE_ENGINEER)
    assert after == await troubled_world.diagnosis()
    assert replace(after, remedy=before.remedy, alternatives=before.alternatives, reasons=()) == replace(
        before, reasons=()
    )


async def test_what_failed_by_accident_or_waits_for_a_person_was_not_tried(troubled_world: World):
    await troubled_world.past("away", status="failed", verdict=None)
    await troubled_world.past("unjudged", verdict="error")
    await troubled_world.past("waiting", status="success", verdict="pass", version="2")
    assert (await troubled_world.diagnosis()).remedy is Remedy.RETRAIN


async def test_a_candidate_that_its_rollout_turned_back_was_tried_unless_a_person_did(troubled_world: World):
    for name, who in (("by hand", "ana"), ("by itself", AUTOMATIC)):
        assert (await troubled_world.diagnosis()).remedy is Remedy.RETRAIN
        turn = Transition(troubled_world.clock.now(), RolloutState.ROLLED_BACK, 0, who, "harm")
        now = troubled_world.clock.now()
        rollout = Rollout(name, "power", "1", "2", RolloutPolicy(), RolloutState.ROLLED_BACK, now, now)
        await troubled_world.store.create_rollout(replace(rollout, transitions=(turn,)))
        await troubled_world.past(name, status="success", verdict="pass", version="2", rollout_id=name)
    assert (await troubled_world.diagnosis()).remedy is Remedy.RE_TUNE


async def test_a_champion_that_is_as_bad_as_the_one_before_was_a_remedy_without_success(troubled_world: World):
    await troubled_world.past("promoted", status="success", verdict="pass", version="1")
    assert (await troubled_world.diagnosis()).remedy is Remedy.RETRAIN  # all these rows are older
    await troubled_world.two_days()
    assert (await troubled_world.diagnosis()).remedy is Remedy.RE_TUNE


async def test_at_the_ladders_end_auto_waits_until_the_rows_have_grown(troubled_world: World):
    await troubled_world.past("all", "full")
    diagnosis = await troubled_world.diagnosis()
    assert (diagnosis.remedy, diagnosis.alternatives) == (Remedy.WAIT, ())
    assert f"tried without success: {', '.join(LADDER)}" in diagnosis.reasons
    assert "nothing is left to try until there are 1.5 times as many labelled rows as then" in diagnosis.reasons
    idle = await troubled_world.agent.optimize_model("power", "auto", time_range="2d")
    assert (idle.status, idle.version) == ("unchanged", None)
    assert "nothing is left to try" in str(idle.error_message)
    await troubled_world.two_days()
    assert (await troubled_world.diagnosis()).remedy is Remedy.RETRAIN


def test_a_replay_climbs_the_ladder_as_the_live_loop_does():
    spec = model_from({**FIELDS, "data": "history.parquet", "holdout_fraction": 0.2})
    history = pa.concat_tables([rows(0, 6), rows(6, 22)])
    policy = RetrainingPolicy(action=Action.FULL, trials=3, cooldown="2d", window="4d")
    outcome = simulate(spec, history, Contender("auto", policy), BacktestAsk((), "1h", start=0.15, step="48h"))
    runs = outcome.run.runs
    assert [(run.status, run.trials > 0) for run in runs] == [
        ("rejected", False),
        ("rejected", True),
        ("success", True),
    ]
    worst, last = (outcome.run.periods[place].metric for place in (2, -1))
    assert worst is not None
    assert last is not None
    assert last > worst + 0.15
