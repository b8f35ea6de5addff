"""Refit in the whole loop: the version that goes to shadow has learned all rows, and names the measured one."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.agent import OptimizationAgent
from optagent.domain.command import OptimizeModel
from optagent.domain.optimization import OptimizationResult
from optagent.domain.process import Status
from optagent.loop.observe.inputs import load_or_make_reference
from optagent.loop.observe.reference import decode_reference
from optagent.loop.train.load import load_version
from optagent.training.encoding import encode
from tests.integration.test_optimize import DAY, NOW, Life, World, live, one_runner, rows

END = NOW + 1500 * DAY


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

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


async def optimize(agent: OptimizationAgent, **changes: Any) -> OptimizationResult:
    arguments = {"action": "full", "time_range": f"{NOW}..{END}", **changes}
    return await agent.optimize_model("churn", "retrain", **arguments)


async def test_what_goes_to_shadow_has_learned_all_rows_and_names_the_version_that_the_gates_judged(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        result = await optimize(agent)
        assert (result.status, result.aliases) == ("success", ("challenger",)), result.error_message
        assert (result.version, result.measured_as) == ("3", "2")
        assert any("version 3 was trained again on all" in note for note in result.notes)
        assert [stage["stage"] for stage in result.stages][-3:] == ["gate", "refit", "deploy"]
        refit, measured, _ = await agent.versions("churn")
        assert (refit.tags["measured_as"], refit.aliases, measured.aliases) == ("2", ("challenger",), ())
        assert dict(refit.metrics) == {}  # no score of rows that it has learned
        newest = float(refit.tags["trained_until"])
        assert newest == NOW + 1500 * DAY
        assert newest - float(measured.tags["trained_until"]) > 100 * DAY
        manifest = load_version(refit, world.registry).manifest
        assert (manifest.trained_until, manifest.data["measured_as"]) == (newest, "2")
        assert "holdout_rows" not in manifest.data


async def test_the_audit_log_names_both_versions_and_the_decision_about_the_measured_one_replays(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        result = await optimize(agent)
        refit, judged = (await agent.audit())[:2]
        assert (refit.action, refit.outcome, judged.action) == ("optimize.refitted", "pass", "optimize.judged")
        assert (refit.detail["version"], refit.detail["measured_as"], judged.detail["version"]) == ("3", "2", "2")
        assert set(refit.detail["gates"]) == {"security", "servable", "serving parity", "latency"}
        assert result.process_id is not None
        replay = await agent.replay_decision(result.process_id)
        assert (replay.is_same, replay.version) == (True, "2")  # type: ignore[union-attr]


@pytest.mark.parametrize("changes", [{"action": "candidate"}, {"refit": False}])
async def test_what_a_person_decides_on_or_asked_for_without_a_refit_is_the_version_that_was_measured(
    world: World, fields: dict[str, Any], changes: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        first = await optimize(agent)
        assert (first.version, first.measured_as, first.aliases) == (
            "1",
            None,
            ("champion",),
        )  # it has no rival
        await live(agent, world)
        result = await optimize(agent, **changes)
        assert (result.version, result.measured_as, result.aliases) == ("2", None, ("challenger",))


async def test_a_refits_reference_has_predictions_of_the_version_that_has_not_learned_these_rows(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        await optimize(agent)
    own, measured = (decode_reference(world.observations.reference("churn", number)) for number in ("3", "2"))
    assert own.version == "3"
    assert np.array_equal(own.observed.time, measured.observed.time)
    assert np.array_equal(own.observed.prediction, measured.observed.prediction)
    assert "those of version 2" in own.notes[0]
    predictor = load_version(world.registry.version("churn", "3"), world.registry)
    assert own.schema == predictor.schema
    learned = predictor.scores(own.observed.x[:, : len(own.schema.columns)].astype(np.float32))
    assert not np.array_equal(learned, own.observed.prediction)


async def test_a_refit_that_lost_its_reference_takes_that_of_the_measured_version(world: World, fields: dict[str, Any]):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        await optimize(agent)
        world.observations.drop_reference("churn", "3")
        refit, spec = world.registry.version("churn", "3"), await agent.model("churn")
        predictor = load_version(refit, world.registry)
        own, notes = load_or_make_reference(refit, predictor, spec, world.observations, InMemoryDatasets({}), 0)
        measured = decode_reference(world.observations.reference("churn", "2"))
        assert (own.version, notes) == ("3", ())
        assert np.array_equal(own.observed.prediction, measured.observed.prediction)


async def test_the_next_candidate_meets_the_measured_version_of_a_champion_that_was_trained_again(
    world: World, fields: dict[str, Any]
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        await optimize(agent)
        world.registry.set_alias("churn", "champion", "3")
        again = await optimize(agent)
        assert again.baseline_name == "version 2, as which champion version 3 was measured"
        judged = next(entry for entry in await agent.audit() if entry.action == "optimize.judged")
        assert (judged.detail["champion_version"], judged.detail["rival_version"]) == ("3", "2")
        assert again.process_id is not None
        assert (await agent.replay_decision(again.process_id)).is_same
        # One that would be deployed as it is meets the champion, which has learned the whole holdout.
        alone = await optimize(agent, action="candidate")
        assert (alone.status, alone.verdict) == ("rejected", "inconclusive")
        assert "only 0 of the" in str(alone.error_message)
        assert alone.old_metrics == {}
        assert alone.process_id is not None
        assert (await agent.replay_decision(alone.process_id)).is_same


async def test_a_refit_whose_bundle_misses_a_gate_is_left_out_and_the_measured_version_competes(
    world: World, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    async with await world.agent() as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
        monkeypatch.setattr("optagent.loop.refit.judge_built_bundle", slow_bundle)
        result = await optimize(agent)
        assert (result.status, result.version, result.measured_as) == ("success", "2", None)
        assert any("version 3, trained again on all rows, is left out: latency: fail" in note for note in result.notes)
        assert (await agent.audit())[0].outcome == "fail"


def slow_bundle(*arguments: Any) -> list[Any]:
    from optagent.domain.gate import GateResult, Verdict

    return [GateResult("latency", Verdict.FAIL, 900.0, 500.0, "it took 900 ms")]


@pytest.mark.timeout(600)
async def test_killed_at_any_write_another_runner_ends_it_with_one_refit(world: World, fields: dict[str, Any]):
    async with await world.agent(strict=True) as agent:
        await agent.register_model(fields)
        await agent.optimize_model("churn", "retrain")
        await live(agent, world)
    unlimited_life = Life()
    await one_runner(world, await submit(world), unlimited_life)
    for at in range(1, unlimited_life.writes + 1, 3):
        process_id = await submit(world)
        await one_runner(world, process_id, Life(at, after=at % 2 == 0))
        async with await world.agent(strict=True) as agent:
            if not (await agent.process(process_id)).status.has_ended:
                await agent.run_queued(process_id)
            process = await agent.process(process_id)
            assert (process.status, process.error) == (Status.SUCCEEDED, None), at
            assert process.result is not None
            own = [each for each in await agent.versions("churn") if each.tags["process_id"] == process_id]
            assert [each.tags.get("measured_as") for each in own] == [process.result["measured_as"], None], at
            assert process.result["version"] == own[0].version, at
            stages = Counter(event.detail["stage"] for event in process.history if event.kind == "stage")
            assert stages["refit"] + stages["gate"] <= 3, (at, stages)


async def submit(world: World) -> str:
    async with await world.agent(strict=True) as agent:
        command = OptimizeModel("churn", "retrain", "full", time_range=f"{NOW}..{END}")
        return (await agent.submit(command)).process_id


async def test_a_champion_of_a_short_window_is_judged_on_later_rows_alone(world: World, fields: dict[str, Any]):
    """It has learned half of the holdout of a candidate that learns from all rows."""
    async with await world.agent() as agent:
        await agent.register_model(fields)
        first = await agent.optimize_model("churn", "retrain", window="699d")
        assert first.aliases == ("champion",)
        result = await agent.optimize_model("churn", "retrain", window="expanding")
        champion = next(gate for gate in result.gates if gate["name"] == "champion")
        assert champion["evidence"]["rows"] == 140
        assert "on 140 rows" in champion["reason"]
        samples = next(gate for gate in result.gates if gate["name"] == "validation samples")
        assert samples["measured"] == 300
        table = rows(1500)
        version = world.registry.version("churn", "1")
        predictor = load_version(version, world.registry)
        y = table["label"].to_numpy()[-140:] == "yes"
        prediction = predictor.scores(encode(table.slice(1360), predictor.schema))
        loss = -np.log(np.where(y, prediction, 1 - prediction)).mean()
        assert result.old_metrics is not None
        assert result.old_metrics["log_loss"] == pytest.approx(loss)
