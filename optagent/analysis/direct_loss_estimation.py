"""Direct loss estimation: the performance of a regression before labels arrive, by a model of its errors.

As in NannyML's DLE, absolute and squared errors are learned from the features and the prediction on the reference, and
predicted for rows without labels. Trees flatten what they learn and know nothing beyond their range, so the errors that
they left on the reference are added, its rows weighted to have the features of the window: right if either the model or
the weights are (augmented inverse probability weighting, Robins, Rotnitzky and Zhao 1994, cross-fitted).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.density_ratio import DensityRatio, fit_density_ratio
from optagent.analysis.estimated_performance import LEAST_REFERENCE_ROWS, WindowEstimate
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import Measure, scorable_rows
from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.domain.study import Interval
from optagent.errors import InvalidData

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor


_FOLDS = 5
_POWERS = {"mae": 1, "rmse": 2}
_RESIDUAL_BLOCKS = 50
_LEAST_EFFECTIVE_SQUARES = 1_500
_MOST_BLOCKS = 500


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    """Models of |error| to a power, each without one stretch of the reference, and the residuals (rows,) there."""

    models: "tuple[HistGradientBoostingRegressor, ...]"
    residuals: Vector

    def predict(self, inputs: Vector) -> Vector:
        with _one_thread():
            return np.asarray(np.mean([_predict_loss(model, inputs) for model in self.models], axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class LossModel:
    """Models of the errors, by metric, as fitted on the reference."""

    losses: dict[str, _Loss]
    ratio: DensityRatio
    columns: int
    seed: int
    draws: int

    def estimate(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> WindowEstimate:
        """An interval holds three doubts: which rows came, how far losses are from their model, and the model.

        With weights, a mean of squares hangs on a few large errors, which drawn again hide what is doubtful: the RMSE
        is left out unless many rows carry it. Their number is read off the weights alone. By the errors themselves,
        those references would be chosen that by luck have no large one.
        """
        inputs = _inputs(window)
        if inputs.shape[1] != self.columns + 1:
            raise InvalidData(f"{inputs.shape[1] - 1} features, those of the reference are {self.columns}")
        likeness = self.ratio.weigh(window)
        if likeness.refusal:
            return WindowEstimate({}, likeness.refusal)
        rng = np.random.default_rng(self.seed)
        are_few = likeness.weights is not None and likeness.effective_rows < _LEAST_EFFECTIVE_SQUARES
        intervals = {}
        for measure in measures:
            loss = self.losses.get(measure.name)
            if loss is not None and not (are_few and measure.name == "rmse"):
                weights = np.ones(len(loss.residuals)) if likeness.weights is None else likeness.weights
                root = 1 / _POWERS[measure.name]
                mean, draws = _mean_loss(rng, loss, inputs, weights, self.draws)
                value = max(mean, 0.0) ** root
                low, high = (
                    float(edge) for edge in np.quantile(np.maximum(draws, 0.0) ** root, [alpha / 2, 1 - alpha / 2])
                )
                intervals[measure.name] = Interval(value, min(low, value), max(high, value), alpha)
        return WindowEstimate(intervals)


def _mean_loss(
    rng: np.random.Generator, loss: _Loss, inputs: Vector, weights: Vector, draws: int
) -> tuple[float, Vector]:
    """The mean loss of the window's rows, and (draws,) values that it may have."""
    expected, residuals, rows = loss.predict(inputs), loss.residuals, len(inputs)
    correction = float(np.average(residuals, weights=weights))
    centred = residuals - correction
    drawn = rng.choice(centred, size=(draws, rows), p=weights / weights.sum()).mean(axis=1)
    mean = float(expected.mean()) + correction
    doubt = (
        _block_means(rng, expected, rows, draws)
        - expected.mean()
        + _dispersion(weights * centred) ** 0.5 * drawn
        - _weighted_means(rng, centred, weights, draws)
    )
    return mean, mean + doubt


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
    labelled = reference.where(rows)
    inputs, error = _inputs(labelled), np.abs(labelled.y - labelled.prediction)
    losses = {name: _fit_loss(inputs, error**power, seed) for name, power in _POWERS.items()}
    return LossModel(losses, fit_density_ratio(labelled), reference.x.shape[1], seed, draws)


def _fit_loss(inputs: Vector, loss: Vector, seed: int) -> _Loss:
    """The models that each leave out one stretch of neighbours."""
    edges = np.linspace(0, len(loss), _FOLDS + 1).astype(np.int64)
    models, residuals = [], []
    with _one_thread():
        for start, end in pairwise(edges.tolist()):
            others = np.r_[0:start, end : len(loss)]
            models.append(_fit_regressor(inputs[others], loss[others], seed))
            residuals.append(loss[start:end] - _predict_loss(models[-1], inputs[start:end]))
    return _Loss(tuple(models), np.concatenate(residuals))


def _fit_regressor(inputs: Vector, loss: Vector, seed: int) -> "HistGradientBoostingRegressor":
    from sklearn.ensemble import HistGradientBoostingRegressor

    # scikit-learn 1.9 cannot bin a column without a value; a constant one is never split.
    filled = np.where(np.isnan(inputs).all(axis=0), 0.0, inputs)
    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=40, early_stopping=False, random_state=seed
    )
    return model.fit(filled, loss)


def _predict_loss(model: "HistGradientBoostingRegressor", inputs: Vector) -> Vector:
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


def _dispersion(residuals: Vector) -> float:
    """The ratio, at least 1, by which residuals of neighbours vary more in sum than independent ones."""
    length = max(1, len(residuals) // _RESIDUAL_BLOCKS)
    sums = np.add.reduceat(residuals, np.arange(0, len(residuals), length))
    independent = float(np.square(residuals).sum())
    return max(1.0, float(np.square(sums).sum()) / independent) if independent > 0 else 1.0


def _weighted_means(rng: np.random.Generator, values: Vector, weights: Vector, draws: int) -> Vector:
    """(draws,) weighted means of values of which blocks of neighbours are drawn again."""
    blocks = max(1, min(_MOST_BLOCKS, len(values) // cube_root_length(len(values))))
    code = np.arange(len(values)) * blocks // len(values)
    counts = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    total, weight = (counts @ np.bincount(code, parts, minlength=blocks) for parts in (weights * values, weights))
    return np.divide(total, weight, out=np.zeros(draws), where=weight > 0)
