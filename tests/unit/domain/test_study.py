"""Studies, their progress and their answer."""

import pytest

from optagent.domain.command import TuneModel
from optagent.domain.model import Task
from optagent.domain.space import Int, SearchSpace
from optagent.domain.strategy import STRATEGIES, strategy_named
from optagent.domain.study import (
    Budget,
    Interval,
    SearchOutcome,
    Study,
    Trial,
    TrialState,
    TuningResult,
    method_named,
    progress_of,
)
from optagent.errors import InvalidRequest


def a_study(**changes) -> Study:
    fields = {
        "study_id": "s",
        "model_id": "m",
        "task": Task.BINARY,
        "metric": "auc",
        "maximize": True,
        "spaces": {"lightgbm": SearchSpace((Int("leaves", 2, 9),))},
        "defaults": {"lightgbm": {"leaves": 5}},
        "trials": 10,
        "timeout_s": 100.0,
    }
    return Study(**(fields | changes))


def a_trial(number: int, score: float | None, state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, "lightgbm", {"leaves": 5}, state, score)


def test_rungs_grow_by_the_reduction_factor_and_end_with_the_whole():
    assert Budget(max_units=81, grace_units=9, reduction_factor=2).rungs == (9, 18, 36, 72, 81)
    assert Budget(max_units=5, grace_units=5).rungs == (5,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(grace_units=0), "grace_units must be between 1 and 81, got 0"),
        (lambda: Budget(reduction_factor=1), "reduction_factor must be at least 2, got 1"),
        (lambda: Budget(patience_rounds=0), "early_stopping_rounds must be at least 1, got 0"),
        (lambda: a_study(trials=0), "trials must be a whole number of at least 1, got 0"),
        (lambda: a_study(timeout_s=float("nan")), "timeout_s must be at least 1 second, got nan"),
        (lambda: a_study(concurrency=0), "concurrency must be at least 1, got 0"),
        (lambda: a_study(spaces={}), "at least one family"),
        (lambda: method_named("grid"), r"unknown method 'grid'; one of \['bayesian', 'gp', .*'tpe'\]"),
        (
            lambda: strategy_named("bold"),
            r"unknown strategy 'bold'; one of \['aggressive', 'balanced', 'conservative'\]",
        ),
        (lambda: TuneModel("m", trials=2.5), "trials must be a whole number of at least 1, got 2.5"),
        (lambda: TuneModel("m", trials=True), "trials must be a whole number of at least 1, got True"),
        (lambda: TuneModel("m", timeout_s=0.5), "timeout_s must be at least 1 second, got 0.5"),
        (lambda: TuneModel("m", timeout_s="1h"), "timeout_s must be at least 1 second, got '1h'"),
        (lambda: TuneModel("m", seed=-1), "seed must be a whole number of at least 0, got -1"),
        (lambda: TuneModel(""), "model_id must be the id of a registered model, got ''"),
    ],
)
def test_a_request_that_breaks_a_rule_is_never_made(make, message):
    with pytest.raises(InvalidRequest, match=message):
        make()


def test_optuna_is_another_name_of_tpe():
    assert method_named("optuna") == method_named("tpe") == "tpe"


def test_conservative_spends_and_risks_less_than_aggressive():
    careful, bold = STRATEGIES["conservative"], STRATEGIES["aggressive"]
    assert careful.trials < bold.trials
    assert careful.alpha < bold.alpha
    assert careful.margin < bold.margin


def test_only_a_complete_trial_is_best_and_the_direction_counts():
    outcome = SearchOutcome((a_trial(0, 0.7), a_trial(1, 0.9, TrialState.PRUNED), a_trial(2, 0.8), a_trial(3, 0.8)))
    assert outcome.best(maximize=True).number == 2
    assert outcome.best(maximize=False).number == 0
    assert SearchOutcome((a_trial(0, None, TrialState.FAILED),)).best(maximize=True) is None


def test_progress_counts_each_state_and_the_limit_bounds_the_time_left():
    trials = [a_trial(0, 0.7), a_trial(1, 0.6, TrialState.PRUNED), a_trial(2, None, TrialState.FAILED)]
    progress = progress_of(a_study(), trials, running=2, elapsed_s=60.0)
    assert (progress.trials_done, progress.pruned, progress.failed, progress.running) == (3, 1, 1, 2)
    assert progress.best_score == 0.7
    assert progress.eta_s == 40.0
    assert progress_of(a_study(), [], running=2, elapsed_s=1.0).eta_s is None


def test_a_result_answers_like_a_mapping_and_knows_no_error_when_it_succeeded():
    result = TuningResult(best_params={"leaves": 5}, best_score=0.8, holdout=Interval(0.8, 0.7, 0.9, 0.05))
    assert "error" not in result
    assert result["best_params"] == {"leaves": 5}
    assert result.best_score == result["best_score"] == 0.8
    assert "version" not in result
    assert dict(TuningResult(error="no such model"))["error"] == "no such model"
