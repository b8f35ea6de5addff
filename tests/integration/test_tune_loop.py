"""From rows to a registered version, with every port in memory."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.domain.gate import Verdict
from optagent.domain.process import Status
from optagent.domain.study import Interval, SearchOutcome, Trial, TrialState
from optagent.errors import Cancelled, InvalidRequest
from optagent.loop.train.holdout import verdict_of_interval
from optagent.loop.train.register import alias_earned


async def test_the_first_version_becomes_champion_and_the_process_tells_its_story(agent, churn):
    await agent.register_model(churn)
    result = await agent.tune_hyperparameters(model_id="churn", method="optuna", trials=4)
    assert "error" not in result
    assert result["trials"] == 4
    assert result["best_params"]["family"] == "lightgbm"
    assert result.aliases == ("champion",)
    assert result.baseline_name == "default parameters"
    assert result.holdout.low <= result.holdout.estimate <= result.holdout.high
    process = await agent.process(result.process_id)
    assert process.status is Status.SUCCEEDED
    assert [event.detail["stage"] for event in process.history if event.kind == "stage"] == [
        "prepare",
        "search",
        "validate",
        "register",
    ]
    assert process.progress["trials_done"] == 4
    assert process.result["version"] == result.version


async def test_a_second_search_is_judged_against_the_champion(agent, churn):
    await agent.register_model(churn)
    first = await agent.tune_hyperparameters("churn", trials=3, method="random")
    again = await agent.tune_hyperparameters("churn", trials=3, method="random")
    assert again.baseline_name == f"champion (version {first.version})"
    assert again.improvement.estimate == 0.0  # the same seed finds the same model
    assert (again.verdict, again.aliases) == ("inconclusive", ())
    assert [version.version for version in await agent.versions("churn")] == ["2", "1"]


async def test_several_families_are_searched_in_one_command(agent, churn):
    await agent.register_model({**churn, "families": ["linear", "extra_trees"]})
    result = await agent.tune_hyperparameters("churn", trials=4, method="random")
    assert "error" not in result
    assert result.best_params["family"] in ("linear", "extra_trees")


@pytest.mark.parametrize(("task", "target"), [("regression", "value"), ("multiclass", "region")])
async def test_the_other_tasks_are_tuned_alike(agent, churn, task, target):
    fields = {**churn, "task": task, "target": target, "ignore": ["label"], "families": ["linear"]}
    await agent.register_model(fields)
    result = await agent.tune_hyperparameters("churn", trials=2, method="random")
    assert "error" not in result
    assert result.verdict in ("pass", "fail", "inconclusive")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_id": "nobody"}, "no model 'nobody'"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"strategy": "bold"}, "unknown strategy 'bold'"),
        ({"trials": 0}, "trials must be a whole number"),
        ({"timeout_s": 0}, "timeout_s must be at least 1 second"),
    ],
)
async def test_a_refused_request_is_an_answer_with_an_error_and_leaves_nothing(agent, churn, arguments, message):
    await agent.register_model(churn)
    result = await agent.tune_hyperparameters(**{"model_id": "churn", **arguments})
    assert message in result["error"]
    assert await agent.processes() == []


async def test_a_strict_agent_raises(agent, churn):
    agent._strict = True
    with pytest.raises(InvalidRequest, match="unknown method"):
        await agent.tune_hyperparameters("churn", method="magic")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "rmse"}, "unknown metric 'rmse' for a binary model"),
        ({"families": ["prophet"]}, "unknown family 'prophet'; one of"),
        ({"search_space": {"xgboost": {}}}, r"\['xgboost'\] are not among the model's families \['lightgbm'\]"),
        ({"search_space": {"lightgbm": {"leaves": 3}}}, "search_space: lightgbm: unknown parameter 'leaves'"),
        ({"search_space": {"lightgbm": {"learning_rate": {"low": 5, "high": 9}}}}, "outside its legal range"),
        ({"target": "lable"}, "lable"),
        ({"sensitive_columns": ["gender"]}, "gender"),
        ({"folds": 20, "label_horizon": "300d"}, "20 rows are too few for 20 folds"),
    ],
)
async def test_a_model_that_cannot_be_trained_is_not_registered(agent, churn, change, message):
    with pytest.raises(InvalidRequest, match=message):
        await agent.register_model({**churn, **change})
    assert await agent.models() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["yes"] * 400, "class"), ([None] * 400, "label"), (["a", "b", "c", "d"] * 100, "class")],
)
async def test_a_target_that_teaches_nothing_is_refused(agent, churn, make_rows, tmp_path, labels, message):
    rows = make_rows().drop_columns(["label"]).append_column("label", pa.array(labels, pa.string()))
    pq.write_table(rows, tmp_path / "rows.parquet")
    with pytest.raises(InvalidRequest, match=message):
        await agent.register_model(churn)


async def test_rows_without_a_label_are_left_out_and_counted(agent, churn, make_rows, tmp_path):
    rows = make_rows()
    labels = pa.array([None] * 7 + rows["label"].to_pylist()[7:])
    pq.write_table(rows.drop_columns(["label"]).append_column("label", labels), tmp_path / "rows.parquet")
    await agent.register_model({**churn, "families": ["linear"]})
    result = await agent.tune_hyperparameters("churn", trials=2)
    assert "7 rows without a target were left out" in result.notes


class FailingTuner:
    """Answers with trials that all failed."""

    def check(self):
        """Nothing to check."""

    def close(self):
        """Nothing to close."""

    def start(self, task, families):
        """Nothing to start."""

    def share(self, problem):
        return problem

    def search(self, study, problem, on_progress=None, on_trial=None, cancelled=None, is_over=None):
        trial = Trial(0, "lightgbm", {}, TrialState.FAILED, error="MemoryError: no room")
        return SearchOutcome((trial, replace(trial, number=1)))


class WaitingTuner(FailingTuner):
    """Searches until it is cancelled."""

    def search(self, study, problem, on_progress=None, on_trial=None, cancelled=None, is_over=None):
        while not cancelled():
            pass
        raise Cancelled("cancelled after 0 trials")


def with_tuner(agent, tuner):
    agent._ports = replace(agent._ports, tuner=tuner)
    return agent


async def test_a_search_in_which_every_trial_fails_says_why_and_registers_nothing(agent, churn):
    await agent.register_model(churn)
    result = await with_tuner(agent, FailingTuner()).tune_hyperparameters("churn", trials=2)
    assert result["error"] == "all 2 trials failed; 2 of them with: MemoryError: no room"
    assert await agent.versions("churn") == []
    (process,) = await agent.processes("churn")
    assert (process.status, process.error) == (Status.FAILED, result["error"])


async def test_a_cancelled_search_ends_and_registers_nothing(agent, churn):
    await agent.register_model(churn)
    tuning = asyncio.create_task(with_tuner(agent, WaitingTuner()).tune_hyperparameters("churn", trials=2))
    while not (running := await agent.processes("churn")) or running[0].stage != "search":
        await asyncio.sleep(0.01)
    await agent.cancel(running[0].process_id)
    result = await tuning
    assert "cancelled" in result["error"]
    assert (await agent.process(running[0].process_id)).status is Status.CANCELLED
    assert await agent.versions("churn") == []


async def test_overrides_are_settings_or_ports_and_others_are_refused():
    with pytest.raises(InvalidRequest, match="unknown settings"):
        await create_optimization_agent(trails=3)


async def test_a_home_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequest, match="OPT_AGENT_HOME"):
        await create_optimization_agent(home=tmp_path / "file" / "home")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.02, Verdict.PASS), (-0.02, -0.01, Verdict.FAIL), (0.0, 0.02, Verdict.INCONCLUSIVE)],
)
def test_only_a_whole_interval_above_zero_passes(low, high, verdict):
    assert verdict_of_interval(Interval(np.mean([low, high]), low, high, 0.05)) is verdict


def test_an_interval_that_is_not_a_number_never_passes():
    assert verdict_of_interval(Interval(float("nan"), float("nan"), float("nan"), 0.05)) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("verdict", "champion", "alias"),
    [
        (Verdict.PASS, False, "champion"),
        (Verdict.INCONCLUSIVE, False, "champion"),
        (Verdict.FAIL, False, None),
        (Verdict.PASS, True, "challenger"),
        (Verdict.INCONCLUSIVE, True, None),
        (Verdict.FAIL, True, None),
    ],
)
def test_an_alias_is_earned_by_the_verdict(verdict, champion, alias):
    assert alias_earned(verdict, champion) == alias


async def test_a_search_over_combinatorial_folds_weighs_an_ensemble_and_tells_the_skill_of_its_selection(agent, churn):
    folds = {"scheme": "combinatorial_purged", "groups": 3, "test": 2, "embargo": "2d"}
    await agent.register_model({**churn, "families": ["linear"], "folds": folds})
    result = await agent.tune_hyperparameters("churn", trials=5, ensemble=2)
    assert "error" not in result
    assert result.selection.trials == 5
    assert result.selection.blocks == 15  # three groups of five
    assert 0 <= result.selection.overfitting <= 1
    assert result.selection.sharpe > 0
    assert any("trial" in note for note in result.notes)  # the ensemble was accepted or the single trial kept


async def test_features_are_searched_on_combinatorial_folds_too(agent, churn):
    folds = {"scheme": "combinatorial_purged", "groups": 3, "test": 2, "embargo": "1d"}
    await agent.register_model({**churn, "families": ["linear"], "folds": folds})
    await agent.tune_hyperparameters("churn", trials=1)
    result = await agent.engineer_features("churn")
    assert "error" not in result
