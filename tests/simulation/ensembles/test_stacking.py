from collections.abc import Callable

import numpy as np
import pytest

from optagent.arrays import Rows
from optagent.domain.model import ModelSpec, Task
from optagent.ensembles.members import Members, members_of
from optagent.ensembles.out_of_fold import out_of_fold
from optagent.ensembles.stack_loss import StackFeatures, StackLoss
from optagent.ensembles.stacking import stack
from optagent.ensembles.target import Target, target_of
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.combined import combine
from optagent.training.folds import make_folds
from optagent.training.metrics import METRICS
from optagent.training.problem import Fold

Library = Callable[..., Members]
MAIN = {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}


def halves(rows: int) -> tuple[Fold, ...]:
    even, odd = np.arange(0, rows, 2), np.arange(1, rows, 2)
    return Fold(even, odd), Fold(odd, even)


def target_for(members: Members) -> Target:
    return target_of(members, [METRICS[MAIN[members.task]]])


@pytest.mark.parametrize("task", list(Task))
def test_the_gradient_is_that_of_the_loss(library: Library, task: Task) -> None:
    members = library(task, models=3, rows=60)
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    loss = StackLoss(members, StackFeatures(x, (0, 1)))
    theta = loss.start + 0.1 * np.random.default_rng(1).normal(size=len(loss.start))
    _, gradient = loss(theta, 0.3)
    for index, step in enumerate(np.eye(len(theta)) * 1e-6):
        slope = (loss(theta + step, 0.3)[0] - loss(theta - step, 0.3)[0]) / 2e-6
        assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("task", list(Task))
def test_a_stack_beats_the_best_single_on_fresh_rows_and_its_weights_are_not_negative(
    library: Library, task: Task
) -> None:
    members = library(task, models=4, rows=3000, seed=8)
    learn, fresh = members.select_rows(np.arange(2000)), members.select_rows(np.arange(2000, 3000))
    target = target_for(members)
    fitted = stack(learn, target, halves(2000))
    assert min(fitted.stack.weights) >= 0
    worth = target.worth(fresh.y, combine(fitted.stack, fresh.by_member()))
    assert worth > target.singles(fresh).max()
    assert worth == pytest.approx(fitted.out_of_fold, abs=0.1)


def test_a_heavy_penalty_is_the_mean_and_a_light_one_is_not(library: Library) -> None:
    members = library(Task.REGRESSION, rows=1000)
    heavy, light = (stack(members, target_for(members), halves(1000), penalties=[each]).stack for each in (1e6, 1e-6))
    np.testing.assert_allclose(heavy.weights, 0.2, atol=1e-4)
    np.testing.assert_allclose(
        combine(heavy, members.by_member()), members.predictions.mean(axis=0) + heavy.intercepts[0], atol=1e-2
    )
    assert np.ptp(light.weights) > 0.1


def test_a_feature_that_no_member_saw_helps(library: Library) -> None:
    members = library(rows=2000)
    rng = np.random.default_rng(2)
    x = np.column_stack([members.y + rng.normal(size=2000), np.full(2000, 7.0), rng.normal(size=2000)])
    x[::9, 0] = np.nan
    features, target = StackFeatures(x.astype(np.float32), (0, 1, 2)), target_for(members)
    fitted = stack(members, target, halves(2000), features)
    assert fitted.out_of_fold > stack(members, target, halves(2000)).out_of_fold + 0.01
    assert [column.position for column in fitted.stack.columns] == [0, 2]  # a constant column says nothing


def test_the_unit_of_values_does_not_matter(library: Library) -> None:
    members = library(Task.REGRESSION)
    scaled = members_of(
        members.task, {name: 1e6 * one + 5e7 for name, one in members.by_member().items()}, 1e6 * members.y + 5e7
    )
    small, large = (
        combine(stack(each, target_for(each), halves(400)).stack, each.by_member()) for each in (members, scaled)
    )
    np.testing.assert_allclose((large - 5e7) / 1e6, small, atol=1e-3)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ((), "needs folds"),
        ((Fold(np.arange(10), np.arange(5, 20)),), "fold 1: rows to judge by are among those to train on"),
        ((Fold(np.arange(0), np.arange(5)),), "fold 1: no row to train on"),
        ((Fold(np.arange(5), np.arange(390, 401)),), "fold 1: a row beyond the 400"),
    ],
)
def test_folds_that_would_let_a_row_judge_itself_are_refused(
    library: Library, folds: tuple[Fold, ...], message: str
) -> None:
    members = library()
    with pytest.raises(InvalidData, match=message):
        stack(members, target_for(members), folds)


def test_penalties_and_features_that_do_not_fit_are_refused(library: Library) -> None:
    members = library()
    with pytest.raises(InvalidRequest, match="penalties must be above 0"):
        stack(members, target_for(members), halves(400), penalties=[0.0])
    with pytest.raises(InvalidData, match="features of 3 rows for predictions of 400"):
        stack(members, target_for(members), halves(400), StackFeatures(np.zeros((3, 1), np.float32), (0,)))


def test_predictions_by_fold_are_laid_out_by_row() -> None:
    folds = (Fold(np.arange(4), np.array([6, 4])), Fold(np.arange(6), np.array([9, 7])))
    predictions = {"a": [np.array([0.6, 0.4]), np.array([0.9, 0.7])], "b": [np.zeros(2), np.ones(2)]}
    members, rows = out_of_fold(Task.BINARY, np.tile([0.0, 1.0], 5), folds, predictions)
    assert rows.tolist() == [4, 6, 7, 9]
    np.testing.assert_array_equal(members.predictions, [[0.4, 0.6, 0.7, 0.9], [0, 0, 1, 1]])
    np.testing.assert_array_equal(members.y, [0, 0, 1, 1])


def test_a_row_that_several_folds_validate_has_the_mean_of_their_predictions() -> None:
    folds = (Fold(np.array([0]), np.array([2, 1])), Fold(np.array([0]), np.array([2, 3])))
    members, rows = out_of_fold(
        Task.BINARY, np.zeros(4), folds, {"a": [np.array([0.6, 0.4]), np.array([0.2, 0.7])], "b": [np.ones(2)] * 2}
    )
    assert rows.tolist() == [1, 2, 3]
    np.testing.assert_allclose(members.predictions, [[0.4, 0.4, 0.7], [1, 1, 1]])


@pytest.mark.parametrize(
    ("folds", "parts", "message"),
    [
        ([], [], "no fold"),
        ([([0, 1], [1, 2])], [2], "fold 1: 1 rows are validated that it is trained on"),
        ([([0], [1, 2]), ([0], [3, 4])], [2], "b: predictions of 1 folds, there are 2"),
        ([([0], [1, 2])], [3], "b: 3 predictions for the 2 rows of fold 1"),
    ],
)
def test_what_is_not_out_of_fold_is_refused(
    folds: list[tuple[list[int], list[int]]], parts: list[int], message: str
) -> None:
    each = [Fold(np.array(train), np.array(valid)) for train, valid in folds]
    with pytest.raises(InvalidData, match=message):
        out_of_fold(
            Task.BINARY, np.zeros(9), each, {"b": [np.zeros(n) for n in parts], "a": [np.zeros(n) for n in parts]}
        )


HORIZON = 30


def overlapping(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A cause, and labels that look HORIZON rows ahead: those of neighbours share nearly all that they look at."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=rows + HORIZON)
    ahead = np.convolve(steps, np.ones(HORIZON), "valid")[1 : rows + 1] / np.sqrt(HORIZON)
    cause = ahead + 1.5 * rng.normal(size=rows)
    return cause, (ahead > 0).astype(np.float64)


def fold_answers(cause: np.ndarray, y: np.ndarray, train: Rows, ask: Rows) -> tuple[np.ndarray, np.ndarray]:
    """An honest model of the cause, and one that repeats the label of the row nearest in time."""
    honest = 1 / (1 + np.exp(-cause[ask]))
    ordered = np.sort(train)
    after = np.clip(np.searchsorted(ordered, ask), 1, len(ordered) - 1)
    nearest = np.where(ask - ordered[after - 1] <= ordered[after] - ask, ordered[after - 1], ordered[after])
    return honest, 0.05 + 0.9 * y[nearest]


def inflation(spec: ModelSpec, rows: int, seed: int) -> float:
    """AUC that stacking claims out of fold, less the AUC on rows that came a horizon later."""
    cause, y = overlapping(rows + 3000, seed)
    time = None if spec.time_column is None else np.arange(rows, dtype=np.float64)
    folds = make_folds(time, y[:rows], spec, np.arange(rows))
    answers = [fold_answers(cause, y, fold.train, fold.valid) for fold in folds]
    predictions = {name: [part[index] for part in answers] for index, name in enumerate(("honest", "nearest"))}
    members, known = out_of_fold(Task.BINARY, y[:rows], folds, predictions)
    again = make_folds(None if time is None else time[known], members.y, spec, np.arange(members.rows))
    target = target_of(members, [METRICS["auc"]])
    fitted = stack(members, target, again, penalties=(1.0, 0.01))
    later = np.arange(rows + HORIZON, rows + 3000)
    fresh = dict(zip(("honest", "nearest"), fold_answers(cause, y, np.arange(rows), later), strict=True))
    return fitted.out_of_fold - target.worth(y[later], combine(fitted.stack, fresh))


def test_purged_stacking_shows_no_inflation_where_labels_overlap_and_naive_stacking_does(
    spec: Callable[..., ModelSpec],
) -> None:
    purged = spec(time_column="t", label_horizon=float(HORIZON))
    naive = spec()
    gaps = np.array([[inflation(each, 6000, seed) for each in (purged, naive)] for seed in range(4)])
    assert gaps[:, 0].mean() < 0.02
    assert gaps[:, 1].min() > 0.1
