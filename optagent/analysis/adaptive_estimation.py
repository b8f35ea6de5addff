"""PAPE, probabilistic adaptive performance estimation: metrics of a classifier before labels arrive.

Probabilities are calibrated by isotonic regression on the reference, one class against the rest, its rows weighted to
have the features of the window; what each row of the window then adds to a metric is known in expectation (Bialek,
Kuberski, Perrakis and Bifet 2024, arXiv 2401.08348). Where no feature shifted all weights are 1, which is CBPE. PAPE
assumes that the features still mean the same, CBPE that the probability does; only labels can tell. So where they
differ the estimate is that of PAPE, and its interval spans both. All is done on bins of the probability: within a bin
the calibrated one is constant, so a ranking loses nothing by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.sparse import csr_array

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.density_ratio import DensityRatio, fit_density_ratio
from optagent.analysis.estimated_performance import LEAST_REFERENCE_ROWS, WindowEstimate
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import Measure, scorable_rows
from optagent.arrays import Codes, Mask, Prediction, Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidData

Array = npt.NDArray[np.float64]

_BINS = 200
_MOST_BLOCKS = 500
_RESIDUAL_BLOCKS = 50
_EPS = float(np.finfo(np.float64).eps)


def fit_pape(reference: ObservedRows, seed: int = 0, draws: int = 200) -> "PAPE":
    """The estimator of a reference; InvalidData if it is no classifier's, has few labelled rows, or one class only."""
    if not reference.task.classifies:
        raise InvalidData("PAPE is for classifiers; a regression has the loss model")
    labelled = reference.where(scorable_rows(reference))
    if len(labelled) < LEAST_REFERENCE_ROWS:
        raise InvalidData(
            f"the reference has {len(labelled):,} labelled rows, at least {LEAST_REFERENCE_ROWS} are needed"
        )
    if (labelled.y == labelled.y[0]).all():
        raise InvalidData(f"all {len(labelled):,} labelled rows of the reference are of one class")
    calibrations = _fit_calibrations(labelled, labelled.prediction, np.ones(len(labelled)), seed, draws)
    ratio = fit_density_ratio(labelled, given_answer=labelled.prediction.ndim == 1)
    return PAPE(labelled, ratio, calibrations, seed, draws)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The calibration of one class against the rest.

    `curves` are (1 + draws, bins) calibrated probabilities between `edges`: of all rows, then of blocks of them drawn
    again. `dispersion` is by how much residuals of neighbours add up beyond independent ones: a ratio of variances, at
    least 1.
    """

    edges: Vector
    curves: Array
    dispersion: float

    def bins(self, scores: Vector) -> Codes:
        return np.searchsorted(self.edges, scores, side="right")


@dataclass(frozen=True, slots=True, eq=False)
class PAPE:
    """Adaptive estimator: the labelled rows of the reference, and their calibrations with equal weights.

    A calibration is of class 1, or of each class of a multiclass model.
    """

    reference: ObservedRows
    ratio: DensityRatio
    calibrations: tuple[Calibration, ...]
    seed: int
    draws: int

    def estimate(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> WindowEstimate:
        """Intervals that hold three doubts: which rows came (blocks drawn again), their labels, and the calibration."""
        classes = 1 if window.prediction.ndim == 1 else window.prediction.shape[1]
        if classes != len(self.calibrations):
            raise InvalidData(f"predictions of {classes} columns, those of the reference have {len(self.calibrations)}")
        likeness = self.ratio.weigh(window)
        if likeness.refusal:
            return WindowEstimate({}, likeness.refusal)
        intervals = _intervals(window.prediction, self.calibrations, measures, alpha, self.seed)
        if likeness.weights is None:
            return WindowEstimate(intervals)
        calibrations = _fit_calibrations(self.reference, window.prediction, likeness.weights, self.seed, self.draws)
        adapted = _intervals(window.prediction, calibrations, measures, alpha, self.seed)
        return WindowEstimate({name: _span(adapted[name], intervals.get(name, adapted[name])) for name in adapted})


def _span(interval: Interval, other: Interval) -> Interval:
    return Interval(interval.estimate, min(interval.low, other.low), max(interval.high, other.high), interval.alpha)


def _fit_calibrations(
    reference: ObservedRows, answers: Prediction, row_weights: Vector, seed: int, draws: int
) -> tuple[Calibration, ...]:
    """The calibration of class 1, or of each class, on bins of equally many `answers`."""
    rng = np.random.default_rng(seed)
    y, prediction = reference.y, reference.prediction
    if prediction.ndim == 1:
        return (_fit_calibration(prediction, y == 1, answers, row_weights, rng, draws),)
    return tuple(
        _fit_calibration(prediction[:, index], y == index, answers[:, index], row_weights, rng, draws)
        for index in range(prediction.shape[1])
    )


def _fit_calibration(
    scores: Vector, positive: Mask, answers: Vector, row_weights: Vector, rng: np.random.Generator, draws: int
) -> Calibration:
    inner = np.quantile(answers, np.linspace(0, 1, _BINS + 1)[1:-1])
    edges = np.unique(np.append(inner, 0.5))  # at one half the answer changes, so no bin lies across it
    bins = np.searchsorted(edges, scores, side="right")
    blocks, block = _time_blocks(len(scores))
    weights = np.vstack([np.ones(blocks), rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)])
    parts = (row_weights, row_weights * positive)
    rows, hits = _resampled_sums(weights, block, bins, len(edges) + 1, parts)
    curves = np.stack([_isotonic(*each) for each in zip(rows, hits, strict=True)])
    return Calibration(edges, curves, _dispersion(positive - curves[0][bins], curves[0][bins], row_weights))


def _intervals(
    prediction: Prediction, calibrations: Sequence[Calibration], measures: Sequence[Measure], alpha: float, seed: int
) -> dict[str, Interval]:
    rng = np.random.default_rng(seed)
    blocks, code = _time_blocks(len(prediction))
    again = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=len(calibrations[0].curves) - 1)
    weights = np.vstack([np.ones(blocks), again])
    expected, sampled = [], []
    for index, calibration in enumerate(calibrations):
        sums = _class_sums(prediction, index, calibration, weights, code)
        expected.append((sums, calibration.curves))
        rows = np.rint(sums[0]).astype(np.int64)
        positives = rng.binomial(rows, np.clip(calibration.curves, 0.0, 1.0))
        share = np.divide(positives, rows, out=calibration.curves.copy(), where=rows > 0)
        sampled.append((sums, share))
    dispersion = max(calibration.dispersion for calibration in calibrations)
    wanted = {measure.name: measure for measure in measures}
    intervals = {}
    expected_metrics, sampled_metrics = _metrics_of_sums(expected), _metrics_of_sums(sampled)
    for name in expected_metrics:
        if name in wanted:
            value, draws = expected_metrics[name][0], expected_metrics[name][1:]
            labels = dispersion**0.5 * (sampled_metrics[name][1:] - draws)
            # A calibration is a little too sure of itself, and one of rows drawn again by as much more.
            bias = float(np.nanmean(draws)) - value if not np.isnan(draws).all() else 0.0
            interval = _interval(value - bias, draws - 2 * bias + labels, alpha, wanted[name].bounded)
            if interval is not None:
                intervals[name] = interval
    return intervals


def _isotonic(rows: Vector, hits: Vector) -> Vector:
    """A rising probability for each bin; one without rows takes that between its neighbours."""
    present = np.flatnonzero(rows)
    fitted = isotonic_regression(hits[present] / rows[present], weights=rows[present]).x
    return np.interp(np.arange(len(rows)), present, np.clip(fitted, 0.0, 1.0))


def _dispersion(residual: Vector, probability: Vector, weights: Vector) -> float:
    length = max(1, len(residual) // _RESIDUAL_BLOCKS)
    sums = np.add.reduceat(weights * residual, np.arange(0, len(residual), length))
    independent = float((np.square(weights) * probability * (1 - probability)).sum())
    return max(1.0, float(np.square(sums).sum()) / independent) if independent > 0 else 1.0


def _time_blocks(rows: int) -> tuple[int, Codes]:
    """The number of blocks of neighbours, and the block of each row."""
    blocks = max(1, min(_MOST_BLOCKS, rows // cube_root_length(rows)))
    return blocks, np.arange(rows) * blocks // rows


def _class_sums(prediction: Array, index: int, calibration: Calibration, weights: Array, block: Codes) -> Array:
    """(6, draws, bins): rows, rows answered with this class, log and squared losses where it is true, and where not."""
    if prediction.ndim == 1:
        scores, chosen = prediction, prediction >= 0.5
        other = -np.log(np.clip(1 - scores, _EPS, 1 - _EPS))
    else:
        scores, chosen = prediction[:, index], prediction.argmax(axis=1) == index
        other = np.zeros(len(scores))
    own = -np.log(np.clip(scores, _EPS, 1 - _EPS))
    parts = (np.ones(len(scores)), chosen, own, np.square(1 - scores), other, np.square(scores))
    return _resampled_sums(weights, block, calibration.bins(scores), calibration.curves.shape[1], parts)


def _resampled_sums(weights: Array, block: Codes, bins: Codes, count: int, parts: Sequence[npt.NDArray[Any]]) -> Array:
    """(parts, draws, bins): each part of the rows summed by bin, its blocks drawn again.

    Most blocks have no row in most bins. Sparse sums also need no threads, which wait for each other on a busy machine:
    there, a small window took 2 ms instead of 54.
    """
    totals = np.empty((len(parts), len(weights), count))
    transposed = np.ascontiguousarray(weights.T)
    for index, part in enumerate(parts):
        sums = csr_array((part.astype(np.float64), (bins, block)), shape=(count, weights.shape[1]))
        totals[index] = (sums @ transposed).T
    return totals


def _metrics_of_sums(classes: Sequence[tuple[Array, Array]]) -> dict[str, Vector]:
    """(draws,) metrics from the sums of each class and the (draws, bins) probabilities that it is true."""
    binary = len(classes) == 1
    rows = classes[0][0][0].sum(axis=1)
    hits, log_loss, brier = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    ratios: dict[str, list[Vector]] = {"precision": [], "recall": [], "f1": [], "auc": []}
    for (count, chosen, log_if_true, squared_if_true, log_otherwise, squared_otherwise), share in classes:
        true, predicted, hit = (count * share).sum(axis=1), chosen.sum(axis=1), (chosen * share).sum(axis=1)
        hits += rows - predicted - true + 2 * hit if binary else hit
        log_loss += (log_if_true * share + log_otherwise * (1 - share)).sum(axis=1)
        brier += (squared_if_true * share + squared_otherwise * (1 - share)).sum(axis=1)
        negative = count * (1 - share)
        below = np.cumsum(negative, axis=1) - negative / 2
        occurs = binary | (true + predicted > 0)
        ratios["precision"].append(np.where(occurs, _divide(hit, predicted, 0.0), np.nan))
        ratios["recall"].append(np.where(occurs, _divide(hit, true, 0.0), np.nan))
        ratios["f1"].append(np.where(occurs, _divide(2 * hit, predicted + true, 0.0), np.nan))
        ratios["auc"].append(_divide((count * share * below).sum(axis=1), true * negative.sum(axis=1), np.nan))
    metrics = {"accuracy": hits / rows, "log_loss": log_loss / rows}
    if binary:
        metrics["brier"] = brier / rows
    for name, each in ratios.items():
        stacked = np.stack(each)
        defined = ~np.isnan(stacked)
        metrics[name] = _divide(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0), np.nan)
    return metrics


def _divide(part: Vector, whole: Vector, otherwise: float) -> Vector:
    return np.divide(part, whole, out=np.full(len(part), otherwise), where=whole > 0)


def _interval(value: float, draws: Vector, alpha: float, bounded: bool) -> Interval | None:
    """The percentile interval; None where the metric is undefined on the rows, or on half of the draws."""
    defined = draws[~np.isnan(draws)]
    if np.isnan(value) or 2 * len(defined) < len(draws) or not len(defined):
        return None
    low, high = np.quantile(defined, [alpha / 2, 1 - alpha / 2])
    low, high = min(low, value), max(high, value)
    if bounded:
        low, high = max(0.0, low), min(1.0, high)
    return Interval(float(value), float(low), float(high), alpha)
