"""Columns worth no more than their shadows are told apart from those that the model needs."""

import numpy as np
import pytest

from optagent.errors import InvalidRequest
from optagent.features.ablation import t_statistic
from optagent.features.refits import Learner
from optagent.features.shadow_features import ShadowWins, count_shadow_wins, permutation_importance
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS
from optagent.training.problem import Fold, Problem

LEARNER = Learner(family_named("lightgbm"), {"num_leaves": 7, "max_bin": 31}, rounds=20)


@pytest.fixture(scope="module")
def world(make_data) -> Problem:
    """Columns 0 to 2 matter, 3 is a category that does, 4 to 7 are noise with ever more values."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 8))
    x[:, 3] = rng.integers(0, 4, 500)
    x[:, 4] = x[:, 4] > 0
    y = x[:, 0] + x[:, 1] + 1.5 * np.abs(x[:, 2]) + 2 * (x[:, 3] == 2) + 0.3 * rng.normal(size=500)
    rows = np.arange(500)
    data = make_data(x, y, categorical=(3,), levels=(4,))
    return Problem(data, tuple(Fold(rows[rows % 2 != half], rows[rows % 2 == half]) for half in (0, 1)))


def test_what_matters_is_mostly_better_and_noise_rejected(world: Problem) -> None:
    wins = count_shadow_wins(LEARNER, world.data, world.folds, rounds=14)
    assert set(wins.mostly_better_columns) == {"x0", "x1", "x2", "x3"}
    assert set(wins.rejected_columns) == {"x4", "x5", "x6", "x7"}


def test_few_rounds_reject_nothing_they_can_only_lean() -> None:
    wins = ShadowWins(("a", "b"), np.array([3, 0]), rounds=3)
    assert (wins.rejected_columns, wins.mostly_better_columns) == ((), ("a",))


def test_without_rounds_or_folds_shadows_are_refused(world: Problem) -> None:
    with pytest.raises(InvalidRequest, match="at least 1 round and 1 fold, got 0 and 2"):
        count_shadow_wins(LEARNER, world.data, world.folds, rounds=0)


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_shuffling_what_matters_hurts_whatever_the_direction_of_the_metric(world: Problem, metric: str) -> None:
    fold = world.folds[0]
    _, model = LEARNER.train(world.data, fold)
    x, y = world.data.x_of(fold.valid), world.data.y[fold.valid]
    importances = permutation_importance(model, x, y, METRICS[metric], columns=range(8))
    assert (importances[:4] > 5 * np.abs(importances[4:]).max()).all()


def test_gains_are_counted_in_standard_errors_and_neighbours_count_less() -> None:
    rng = np.random.default_rng(0)
    gains = np.repeat(rng.normal(0.05, 1, 400), 10)
    assert t_statistic(gains, ordered=False) > 2 * t_statistic(gains, ordered=True) > 0
    assert t_statistic(np.zeros(10), ordered=False) == 0
    one_huge = np.r_[np.full(500, -0.1) + 0.01 * rng.normal(size=500), 1e6]
    assert t_statistic(one_huge, ordered=False) < 0
