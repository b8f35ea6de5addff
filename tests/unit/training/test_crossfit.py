"""A trial's training: steps equal the whole, the best mean is kept, patience and deadlines end it."""

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.domain.study import Budget
from optagent.errors import Infeasible, InvalidRequest
from optagent.training.crossfit import Crossfit
from optagent.training.families.registry import FAMILIES, family_named
from optagent.training.problem import Data, Fold, Problem
from optagent.training.recipe import Recipe, predict_out_of_fold, refit

RUNGS = (3, 9, 27, 81)


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 3)).astype(np.float32)
    y = (x[:, 0] - x[:, 1] ** 2 + rng.normal(size=240) > 0).astype(np.float64)
    data = Data(x=x, y=y, names=("a", "b", "c"), task=Task.BINARY, n_classes=2)
    rows = np.arange(240)
    return Problem(data, tuple(Fold(train=rows[rows % 3 != k], valid=rows[rows % 3 == k]) for k in range(3)))


def brier(y, prediction):
    return float(np.mean((y - prediction) ** 2))


def crossfit(problem, family="lightgbm", params=None, score=brier, maximize=False, patience=1000, **options):
    budget = Budget(patience_rounds=patience)
    return Crossfit(family_named(family), params or {}, problem, score, maximize, budget, threads=1, **options)


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("patience", [40, 1000])
def test_rung_by_rung_gives_the_numbers_of_all_at_once(problem, family, patience):
    params = {"learning_rate": 0.02} if "learning_rate" in FAMILIES[family].limits else {}
    slow = family in ("random_forest", "extra_trees")
    last = 9 if patience == 1000 else 27 if slow else RUNGS[-1]
    by_rungs, at_once = (crossfit(problem, family, params, patience=patience) for _ in range(2))
    measured = [by_rungs.advance(rung) for rung in RUNGS if rung <= last]
    assert measured[-1] == at_once.advance(last)
    assert [m.units for m in measured] == sorted(m.units for m in measured)
    assert measured[0].rounds == 3 * FAMILIES[family].rounds_per_unit


def test_the_best_mean_is_kept_with_its_rounds_and_its_folds(problem):
    fold_briers = []

    def score(y, prediction):
        fold_briers.append(brier(y, prediction))
        return fold_briers[-1]

    measured = crossfit(problem, score=score).advance(27)
    means = np.reshape(fold_briers, (27, 3)).mean(axis=1)
    best = int(np.argmin(means))
    assert 0 < best < 26
    assert measured.score == pytest.approx(means[best])
    assert measured.best_rounds == 10 * (best + 1)
    assert measured.fold_scores == tuple(fold_briers[3 * best : 3 * best + 3])
    assert (measured.units, measured.rounds, measured.finished) == (27, 270, False)


def test_maximizing_a_score_is_minimizing_its_opposite(problem):
    up = crossfit(problem, score=lambda y, p: -brier(y, p), maximize=True).advance(27)
    down = crossfit(problem).advance(27)
    assert (up.score, up.best_rounds) == (-down.score, down.best_rounds)


def test_patience_ends_a_trial_that_no_longer_improves_and_more_units_change_nothing(problem):
    trial = crossfit(problem, params={"learning_rate": 0.3}, patience=30)
    measured = trial.advance(81)
    assert measured.finished
    assert measured.rounds == measured.best_rounds + 30
    assert measured.units == measured.rounds // 10 < 81
    assert trial.advance(81) == measured


def test_the_whole_budget_is_finished_and_no_trial_goes_beyond_what_is_asked(problem):
    trial = crossfit(problem, "linear")
    assert (trial.advance(27).units, trial.advance(27).finished) == (27, False)
    assert trial.advance(3).units == 27
    whole = trial.advance(81)
    assert (whole.units, whole.rounds, whole.finished) == (81, 81, True)


def test_a_deadline_returns_early_and_a_later_call_goes_on(problem):
    trial, calls = crossfit(problem), []

    def deadline():
        calls.append(len(calls))
        return len(calls) == 4

    early = trial.advance(9, deadline)
    assert (early.units, early.finished) == (4, False)
    assert trial.advance(9, lambda: True).units == 5
    assert trial.advance(9) == crossfit(problem).advance(9)


@pytest.mark.parametrize("worth", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_infeasible(problem, worth):
    with pytest.raises(Infeasible, match=r"after 10 rounds the folds score .* no finite mean"):
        crossfit(problem, score=lambda y, prediction: worth).advance(3)


def test_parameters_the_library_refuses_are_infeasible(problem):
    with pytest.raises(Infeasible, match="num_leaves"):
        crossfit(problem, params={"num_leaves": 1}).advance(3)


@pytest.mark.parametrize("units", [0, 82])
def test_units_outside_the_budget_are_refused(problem, units):
    with pytest.raises(InvalidRequest, match=f"units must be between 1 and 81, got {units}"):
        crossfit(problem).advance(units)


def test_trials_that_share_a_cache_score_as_trials_that_do_not(problem):
    for family in FAMILIES:
        cache = {}
        shared = [crossfit(problem, family, cache=cache, seed=1).advance(3).fold_scores for _ in range(2)]
        assert shared == [crossfit(problem, family, seed=1).advance(3).fold_scores] * 2


def test_a_refit_looks_at_its_rows_only(problem):
    data, rows = problem.data, np.arange(160)
    spoiled = data.x.copy()
    spoiled[160:] = 1e6
    changed = Data(x=spoiled, y=data.y, names=data.names, task=data.task, n_classes=2)
    for family in FAMILIES.values():
        models = [refit(family, {}, table, rows, rounds=20, seed=2, threads=1) for table in (data, changed)]
        np.testing.assert_array_equal(*(model.predict(data.x) for model in models))
        assert brier(data.y[160:], models[0].predict(data.x[160:])) < 0.25


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "linear"])
def test_kept_predictions_are_those_of_a_training_to_the_best_rounds(problem, family):
    params = FAMILIES[family].defaults(Task.BINARY)
    trial = crossfit(problem, family, params, keeps_predictions=True)
    measured = trial.advance(9)
    again = predict_out_of_fold(problem, Recipe("again", family, params, measured.best_rounds))
    for kept, trained in zip(trial.predictions, again.predictions, strict=True):
        assert kept.dtype == np.float32
        np.testing.assert_allclose(kept, trained, atol=1e-6)


def test_a_trial_that_nobody_asked_keeps_no_predictions(problem):
    trial = crossfit(problem)
    trial.advance(3)
    assert trial.predictions == ()
