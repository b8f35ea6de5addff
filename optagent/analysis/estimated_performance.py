"""Estimated performance before labels arrive: CBPE for classifiers, and the check of past estimates against labels.

Probabilities are calibrated by isotonic regression on the reference, one class against the rest; what each row then
adds to a metric is known in expectation (confidence-based performance estimation, of NannyML). All is done on bins of
the probability: within a bin the calibrated one is constant, so a ranking loses nothing by them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.stats import binom

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import LEAST_ROWS, Measure, predicted_rows, scorable_rows
from optagent.arrays import Codes, Vector
from optagent.domain.performance import Coverage, EstimatedMetric, EstimatedPerformance
from optagent.domain.study import Interval
from optagent.errors import InvalidData

Array = npt.NDArray[np.float64]
History = Mapping[str, Sequence[tuple[Interval, float]]]
"""By metric: the estimates of past windows, each with the value that came true."""

LEAST_REFERENCE_ROWS = 200
_REFUSED_BELOW = 0.05
_BINS = 200
_MOST_BLOCKS = 500
_RESIDUAL_BLOCKS = 50
_EPS = float(np.finfo(np.float64).eps)


class Estimator(Protocol):
    """Estimates metrics of rows without their labels."""

    def intervals(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> Mapping[str, Interval]:
        """The metrics that it can estimate, with intervals that hold the realised ones with probability 1 - alpha."""
        ...


def estimated_performance(
    estimator: Estimator,
    window: ObservedRows,
    measures: Sequence[Measure],
    alpha: float = 0.05,
    history: History | None = None,
) -> EstimatedPerformance:
    """The estimate for a window, and whether past estimates held; see `estimate_history`."""
    rows = window.where(predicted_rows(window))
    if len(rows) < LEAST_ROWS:
        return EstimatedPerformance(len(rows), reason=f"{len(rows):,} rows, at least {LEAST_ROWS} are needed")
    intervals = estimator.intervals(rows, measures, alpha)
    past = history or {}
    estimable = [measure for measure in measures if measure.name in intervals]
    limit = _REFUSED_BELOW / max(1, len(estimable))
    metrics = tuple(
        _estimated_metric(measure, intervals[measure.name], past.get(measure.name, ()), limit) for measure in estimable
    )
    broken = [metric for metric in metrics if not metric.trusted]
    if broken or not metrics:
        reason = "; ".join(f"{metric.name}: {metric.reason}" for metric in broken) or "no metric can be estimated"
        return EstimatedPerformance(len(rows), metrics, False, reason)
    checked = any(metric.coverage is not None and metric.coverage.windows for metric in metrics)
    reason = "" if checked else "not checked yet: no past window has labels"
    return EstimatedPerformance(len(rows), metrics, True, reason)


def estimate_history(
    estimator: Estimator, windows: Sequence[ObservedRows], measures: Sequence[Measure], alpha: float = 0.05
) -> dict[str, list[tuple[Interval, float]]]:
    """Estimates of past windows beside the truth, on the rows whose labels are known; short windows are left out."""
    history: dict[str, list[tuple[Interval, float]]] = {}
    for window in windows:
        rows = window.where(scorable_rows(window))
        if len(rows) < LEAST_ROWS:
            continue
        intervals = estimator.intervals(rows, measures, alpha)
        for measure in measures:
            if measure.name not in intervals or (measure.needs_classes and (rows.y == rows.y[0]).all()):
                continue
            try:
                realised = measure.score(rows.y, rows.prediction)
            except InvalidData:
                continue
            history.setdefault(measure.name, []).append((intervals[measure.name], realised))
    return history


def coverage(pairs: Sequence[tuple[Interval, float]]) -> Coverage:
    """The count of realised values outside their interval, and the chance of so many (a one-sided binomial test)."""
    if not pairs:
        return Coverage(0, 0, 0.0)
    missed = sum(not interval.low <= realised <= interval.high for interval, realised in pairs)
    expected = float(np.mean([interval.alpha for interval, _ in pairs]))
    return Coverage(len(pairs), missed, expected, float(binom.sf(missed - 1, len(pairs), expected)))


def _estimated_metric(
    measure: Measure, interval: Interval, past: Sequence[tuple[Interval, float]], limit: float
) -> EstimatedMetric:
    past_coverage = coverage(past)
    trusted = past_coverage.p_value is None or past_coverage.p_value >= limit
    reason = ""
    if not trusted:
        reason = (
            f"the truth fell outside the estimate in {past_coverage.missed} of {past_coverage.windows} past windows,"
            f" {past_coverage.expected * past_coverage.windows:.1f} were to be expected"
        )
    return EstimatedMetric(measure.name, measure.maximize, measure.bounded, interval, trusted, past_coverage, reason)


def fit_cbpe(reference: ObservedRows, seed: int = 0, draws: int = 200) -> "CBPE":
    """The estimator of a reference; InvalidData if it is no classifier's, has few labelled rows, or one class only."""
    if not reference.task.classifies:
        raise InvalidData("CBPE is for classifiers; a regression has the loss model")
    usable = scorable_rows(reference)
    y, prediction = reference.y[usable], reference.prediction[usable]
    if len(y) < LEAST_REFERENCE_ROWS:
        raise InvalidData(f"the reference has {len(y):,} labelled rows, at least {LEAST_REFERENCE_ROWS} are needed")
    if (y == y[0]).all():
        raise InvalidData(f"all {len(y):,} labelled rows of the reference are of one class")
    rng = np.random.default_rng(seed)
    if prediction.ndim == 1:
        return CBPE((_fit_calibration(prediction, y == 1, rng, draws),), seed)
    each = [_fit_calibration(prediction[:, index], y == index, rng, draws) for index in range(prediction.shape[1])]
    return CBPE(tuple(each), seed)


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
class CBPE:
    """Confidence-based estimator: the calibrations of class 1, or of each class of a multiclass model."""

    calibrations: tuple[Calibration, ...]
    seed: int

    def intervals(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> dict[str, Interval]:
        """Intervals that hold three doubts: which rows came (blocks drawn again), their labels, and the calibration."""
        classes = 1 if window.prediction.ndim == 1 else window.prediction.shape[1]
        if classes != len(self.calibrations):
            raise InvalidData(f"predictions of {classes} columns, those of the reference have {len(self.calibrations)}")
        rng = np.random.default_rng(self.seed)
        draws = len(self.calibrations[0].curves) - 1
        blocks, code = _time_blocks(len(window))
        weights = np.vstack([np.ones(blocks), rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)])
        expected, sampled = [], []
        for index, calibration in enumerate(self.calibrations):
            sums = _class_sums(window.prediction, index, calibration, weights, code)
            expected.append((sums, calibration.curves))
            rows = np.rint(sums[0]).astype(np.int64)
            positives = rng.binomial(rows, np.clip(calibration.curves, 0.0, 1.0))
            share = np.divide(positives, rows, out=calibration.curves.copy(), where=rows > 0)
            sampled.append((sums, share))
        dispersion = max(calibration.dispersion for calibration in self.calibrations)
        wanted = {measure.name: measure for measure in measures}
        intervals = {}
        expected_metrics, sampled_metrics = _metrics_of_sums(expected), _metrics_of_sums(sampled)
        for name in expected_metrics:
            if name in wanted:
                spread = expected_metrics[name] + dispersion**0.5 * (sampled_metrics[name] - expected_metrics[name])
                interval = _interval(expected_metrics[name][0], spread[1:], alpha, wanted[name].bounded)
                if interval is not None:
                    intervals[name] = interval
        return intervals


def _fit_calibration(
    scores: Vector, positive: npt.NDArray[np.bool_], rng: np.random.Generator, draws: int
) -> Calibration:
    inner = np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1])
    edges = np.unique(np.append(inner, 0.5))  # at one half the answer changes, so no bin lies across it
    bins = np.searchsorted(edges, scores, side="right")
    blocks, block = _time_blocks(len(scores))
    weights = np.vstack([np.ones(blocks), rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)])
    rows, hits = _resampled_sums(weights, block, bins, len(edges) + 1, (np.ones(len(scores)), positive))
    curves = np.stack([_isotonic(*each) for each in zip(rows, hits, strict=True)])
    return Calibration(edges, curves, _dispersion(positive - curves[0][bins], curves[0][bins]))


def _isotonic(rows: Vector, hits: Vector) -> Vector:
    """A rising probability for each bin; one without rows takes that between its neighbours."""
    from sklearn.isotonic import isotonic_regression

    present = np.flatnonzero(rows)
    fitted = isotonic_regression(hits[present] / rows[present], sample_weight=rows[present], y_min=0.0, y_max=1.0)
    return np.interp(np.arange(len(rows)), present, fitted)


def _dispersion(residual: Vector, probability: Vector) -> float:
    length = max(1, len(residual) // _RESIDUAL_BLOCKS)
    sums = np.add.reduceat(residual, np.arange(0, len(residual), length))
    independent = float((probability * (1 - probability)).sum())
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
