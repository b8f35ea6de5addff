import numpy as np
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.model import ModelSpec, Task
from optagent.training.folds import make_folds
from optagent.training.metrics import metric_named
from optagent.training.problem import Data, Problem
from optagent.training.validation_blocks import ValidationBlocks

ROWS = 400


def problem(folds: int | FoldScheme, task: Task = Task.REGRESSION, y: np.ndarray | None = None) -> Problem:
    time = np.arange(ROWS, dtype=np.float64)
    y = np.random.default_rng(0).normal(size=ROWS) if y is None else y
    spec = ModelSpec("m", task, FileSource("r.csv"), "y", rows_in_time_order=True, folds=folds)
    data = Data(np.zeros((ROWS, 1), np.float32), y, ("x",), task, n_classes=2 if task.classifies else 0)
    return Problem(data, make_folds(time, y, spec, np.arange(ROWS)))


def blocks_of(problem: Problem, metric: str) -> ValidationBlocks:
    chosen = metric_named(metric, problem.data.task)
    return ValidationBlocks(problem, chosen.score, chosen.maximize)


def test_walk_forward_folds_are_cut_into_blocks_in_the_order_of_time() -> None:
    walk = problem(4)
    errors = [np.linspace(number, number + 1, len(fold.valid)) for number, fold in enumerate(walk.folds)]
    predictions = [walk.data.y[fold.valid] + error for fold, error in zip(walk.folds, errors, strict=True)]
    gains = blocks_of(walk, "mae").gains(predictions)
    assert len(gains) == 16
    constants = [np.abs(walk.data.y[fold.valid][:20] - walk.data.y[fold.train].mean()).mean() for fold in walk.folds]
    assert gains[::4] == pytest.approx(
        [constant - error[:20].mean() for constant, error in zip(constants, errors, strict=True)]
    )


def test_a_group_gains_the_mean_of_the_folds_that_validate_it() -> None:
    purged = problem(FoldScheme("combinatorial_purged", 8, 2))
    y = purged.data.y
    exact = blocks_of(purged, "mae").gains([y[fold.valid] for fold in purged.folds])
    group = [np.flatnonzero(fold.group == 3) for fold in purged.folds if 3 in fold.group]  # type: ignore[operator]
    folds = [fold for fold in purged.folds if 3 in fold.group]  # type: ignore[operator]
    first = [
        np.abs(y[fold.valid][rows[:25]] - y[fold.train].mean()).mean() for fold, rows in zip(folds, group, strict=True)
    ]
    assert (len(exact), len(folds)) == (16, 7)
    assert exact[6] == pytest.approx(np.mean(first))


def test_a_block_of_one_class_is_left_out_where_the_metric_needs_both() -> None:
    y = (np.arange(ROWS) % 2).astype(np.float64)
    y[-20:] = 1.0
    walk = problem(4, Task.BINARY, y)
    gains = blocks_of(walk, "auc").gains([y[fold.valid] for fold in walk.folds])
    assert gains == (0.5,) * 15


def test_the_constant_answer_gains_nothing() -> None:
    walk = problem(4)
    means = [np.full(len(fold.valid), walk.data.y[fold.train].mean()) for fold in walk.folds]
    assert blocks_of(walk, "rmse").gains(means) == (0.0,) * 16


def test_few_rows_make_fewer_blocks() -> None:
    walk = problem(4)
    small = Problem(walk.data, tuple(type(fold)(fold.train, fold.valid[:45]) for fold in walk.folds))
    assert len(blocks_of(small, "rmse").gains([np.zeros(45)] * 4)) == 8
