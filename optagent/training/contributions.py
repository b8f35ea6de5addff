"""Column contributions: the size of each column's effect on a model's predictions on some rows."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.errors import InvalidData
from optagent.training.metrics import Metric

MOST_ROWS = 2_000
_MOST_AT_ONCE = 20_000  # rows of one call, those of all permutations together


class Predicts(Protocol):
    """A model that predicts for encoded rows."""

    def predict(self, x: Matrix) -> Prediction: ...


@runtime_checkable
class Explains(Protocol):
    """A model whose library computes its contributions."""

    def contributions(self, x: Matrix) -> Prediction:
        """(rows, columns) the amount that each column adds to each prediction."""
        ...


def contributions(
    model: Predicts,
    x: Matrix,
    y: Vector | None = None,
    metric: Metric | None = None,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> Vector:
    """(columns,) mean absolute contributions on at most `most_rows` rows, evenly spaced; zeros without rows.

    Trees give their SHAP values. For other models the columns are permuted (Breiman 2001): with `y` (rows,), NaN where
    unknown, and `metric`, a contribution is the amount by which the metric gets worse, at least 0; without them, the
    amount by which predictions change. Contributions are comparable only if they were computed in the same way.
    """
    rows = _labelled_rows(y, len(x)) if y is not None and metric is not None else np.arange(len(x))
    if len(rows) > most_rows:
        rows = rows[np.linspace(0, len(rows) - 1, most_rows).astype(np.int64)]
    if not len(rows):
        return np.zeros(x.shape[1])
    sample = np.ascontiguousarray(x[rows])
    if isinstance(model, Explains):
        return np.abs(model.contributions(sample)).mean(axis=0)
    if y is not None and metric is not None:
        return _permutation_importance(model, sample, _metric_fall(metric, y[rows]), seed, repeats=3)
    return _permutation_importance(model, sample, _mean_change, seed, repeats=1)


def _labelled_rows(y: Vector, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if len(y) != rows:
        raise InvalidData(f"{len(y)} labels for {rows} rows")
    return np.flatnonzero(~np.isnan(y))


def _permutation_importance(
    model: Predicts, x: Matrix, effect: Callable[[Prediction, Prediction], float], seed: int, repeats: int
) -> Vector:
    """(columns,) the mean effect of permuting each column, at least 0; a column's permutations do not depend on the
    other columns."""
    before = model.predict(x)
    importances = np.zeros(x.shape[1])
    at_once = max(1, _MOST_AT_ONCE // (len(x) * repeats))
    for start in range(0, x.shape[1], at_once):
        columns = range(start, min(start + at_once, x.shape[1]))
        # One call for all of them, since a call of a pipeline costs more than the scoring of a window's rows.
        after = model.predict(np.concatenate([_permute_column(x, column, seed, repeats) for column in columns]))
        by_column = after.reshape(len(columns), repeats, *before.shape)
        importances[start : columns.stop] = [
            sum(effect(before, predictions) for predictions in of_column) / repeats for of_column in by_column
        ]
    return np.maximum(importances, 0.0)


def _permute_column(x: Matrix, column: int, seed: int, repeats: int) -> Matrix:
    """(repeats * rows, columns): copies of x, each with another order of the values of one column."""
    rng = np.random.default_rng([seed, column])
    copies = np.tile(x, (repeats, 1))
    copies[:, column] = np.concatenate([rng.permutation(x[:, column]) for _ in range(repeats)])
    return copies


def _mean_change(before: Prediction, after: Prediction) -> float:
    changed = np.abs(after - before)
    return float(changed.mean() if changed.ndim == 1 else changed.sum(axis=1).mean())


def _metric_fall(metric: Metric, y: Vector) -> Callable[[Prediction, Prediction], float]:
    """A function that gives the amount by which the metric is worse afterwards; 0 where it is undefined on the rows."""
    sign = 1.0 if metric.maximize else -1.0

    def fall(before: Prediction, after: Prediction) -> float:
        try:
            return sign * (metric.score(y, before) - metric.score(y, after))
        except InvalidData:
            return 0.0

    return fall
