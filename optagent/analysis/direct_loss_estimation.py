"""Direct loss estimation: the performance of a regression before labels arrive, by a model of its errors.

As in NannyML's DLE, absolute and squared errors are learned from the features and the prediction on the reference, and
predicted for rows without labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.estimated_performance import LEAST_REFERENCE_ROWS
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import Measure, scorable_rows
from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.domain.study import Interval
from optagent.errors import InvalidData

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor


_FOLDS = 4
_POWERS = {"mae": 1, "rmse": 2}


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    """A model of |error| to a power, with residuals on rows of the reference later than those learned from."""

    model: "HistGradientBoostingRegressor"
    residuals: Vector

    def predict(self, inputs: Vector) -> Vector:
        return _predict_loss(self.model, inputs)


@dataclass(frozen=True, slots=True, eq=False)
class LossModel:
    """Models of the errors, by metric, as fitted on the reference."""

    losses: dict[str, _Loss]
    columns: int
    seed: int
    draws: int

    def intervals(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> dict[str, Interval]:
        """An interval holds three doubts: which rows came, how far losses are from their model, and the model."""
        rng = np.random.default_rng(self.seed)
        inputs = _inputs(window)
        if inputs.shape[1] != self.columns + 1:
            raise InvalidData(f"{inputs.shape[1] - 1} features, those of the reference are {self.columns}")
        intervals = {}
        for measure in measures:
            if measure.name not in self.losses:
                continue
            loss = self.losses[measure.name]
            expected = loss.predict(inputs)
            means = (
                _block_means(rng, expected, len(expected), self.draws)
                + _block_means(rng, loss.residuals, len(expected), self.draws)
                + _block_means(rng, loss.residuals, len(loss.residuals), self.draws)
                - 2 * loss.residuals.mean()
            )
            root = 1 / _POWERS[measure.name]
            value = float(expected.mean()) ** root
            low, high = (
                float(edge) for edge in np.quantile(np.maximum(means, 0.0) ** root, [alpha / 2, 1 - alpha / 2])
            )
            intervals[measure.name] = Interval(value, min(low, value), max(high, value), alpha)
        return intervals


def fit_loss_model(reference: ObservedRows, seed: int = 0, draws: int = 200, most_rows: int = 20_000) -> LossModel:
    """The models of MAE's and RMSE's losses; of a long reference, `most_rows` evenly spaced rows are learned from.

    Raises InvalidData for a reference that is no regression's, or that has few labelled rows.
    """
    if reference.task is not Task.REGRESSION:
        raise InvalidData(f"the loss model is for regressions, this reference is of a {reference.task} model")
    rows = np.flatnonzero(scorable_rows(reference))
    if len(rows) < LEAST_REFERENCE_ROWS:
        raise InvalidData(f"the reference has {len(rows):,} labelled rows, at least {LEAST_REFERENCE_ROWS} are needed")
    if len(rows) > most_rows:
        rows = rows[np.linspace(0, len(rows) - 1, most_rows).astype(np.int64)]
    inputs, error = _inputs(reference)[rows], np.abs(reference.y - reference.prediction)[rows]
    losses = {name: _fit_loss(inputs, error**power, seed) for name, power in _POWERS.items()}
    return LossModel(losses, reference.x.shape[1], seed, draws)


def _fit_loss(inputs: Vector, loss: Vector, seed: int) -> _Loss:
    """The loss model of all rows, with the residuals of walk-forward folds."""
    edges = np.linspace(0, len(loss), _FOLDS + 2).astype(np.int64)[1:]
    residuals = []
    for start, end in pairwise(edges.tolist()):
        earlier = _fit_regressor(inputs[:start], loss[:start], seed)
        residuals.append(loss[start:end] - _predict_loss(earlier, inputs[start:end]))
    return _Loss(_fit_regressor(inputs, loss, seed), np.concatenate(residuals))


def _fit_regressor(inputs: Vector, loss: Vector, seed: int) -> "HistGradientBoostingRegressor":
    from sklearn.ensemble import HistGradientBoostingRegressor

    # scikit-learn 1.9 cannot bin a column without a value; a constant one is never split.
    filled = np.where(np.isnan(inputs).all(axis=0), 0.0, inputs)
    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=40, early_stopping=False, random_state=seed
    )
    with _one_thread():
        return model.fit(filled, loss)


def _predict_loss(model: "HistGradientBoostingRegressor", inputs: Vector) -> Vector:
    with _one_thread():
        return np.maximum(model.predict(inputs), 0.0)


def _one_thread() -> threadpool_limits:
    """A limit of one thread: on so few rows, several mostly wait for each other, on a busy machine 40 times as long."""
    return threadpool_limits(1, user_api="openmp")


def _inputs(observed: ObservedRows) -> Vector:
    """(rows, features + 1) features and prediction; codes of categories as numbers, infinite values as missing."""
    inputs = np.column_stack([observed.x.astype(np.float64), observed.prediction])
    inputs[~np.isfinite(inputs)] = np.nan
    return inputs


def _block_means(rng: np.random.Generator, values: Vector, rows: int, draws: int) -> Vector:
    """(draws,) means of about `rows` values, drawn in circular blocks of neighbours."""
    length = min(len(values), max(cube_root_length(rows), rows // 500))
    sums = np.cumsum(np.concatenate([[0.0], values, values[:length]]))
    starts = rng.integers(0, len(values), size=(draws, max(1, round(rows / length))))
    return (sums[starts + length] - sums[starts]).mean(axis=1) / length
