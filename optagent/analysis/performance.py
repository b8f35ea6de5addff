"""Realised performance: metrics of labelled rows with their intervals, over time, by slice, and since the reference."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy.stats import false_discovery_control, norm

from optagent.analysis.bootstrap import Resampling, bootstrap_intervals
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.slices import Slice, slices_of
from optagent.arrays import Mask, Prediction, Resampled, Vector
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.performance import Degradation, MetricValue, PerformancePoint, SliceValue
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest

LEAST_ROWS = 30
"""Labelled rows below which a metric is noise."""

IN_TIME = Resampling(resamples=300, time_ordered=True)


class Measure(Protocol):
    """The interface of a watched metric, which those of `training.metrics` have."""

    @property
    def name(self) -> str: ...

    @property
    def maximize(self) -> bool: ...

    @property
    def bounded(self) -> bool:
        """True where differences are read as they are, not as a share of the value."""
        ...

    @property
    def needs_classes(self) -> bool:
        """True where the metric is undefined on rows that are all of one class."""
        ...

    @property
    def resampled(self) -> Resampled | None: ...

    def score(self, y: Vector, prediction: Prediction) -> float:
        """Raises InvalidData where the metric is undefined."""
        ...


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean a row of an outcome, such as a business metric: see `as_outcome`."""

    name: str
    maximize: bool = True
    bounded: bool = False
    needs_classes: bool = False

    def score(self, y: Vector, prediction: Prediction) -> float:
        return float(y.mean())

    @property
    def resampled(self) -> Resampled:
        return lambda y, prediction: lambda counts: counts @ y / counts.sum(axis=1)


def as_outcome(observed: ObservedRows, values: Vector) -> ObservedRows:
    """The same rows judged by `values` (rows,), NaN where unknown, for use with a `Mean`."""
    if len(values) != len(observed):
        raise InvalidData(f"{len(values)} values of an outcome for {len(observed)} rows")
    finite = np.where(np.isfinite(values), values, np.nan)
    return replace(observed, task=Task.REGRESSION, y=finite, prediction=np.zeros(len(finite)), n_classes=0)


def metric_values(
    observed: ObservedRows,
    measures: Sequence[Measure],
    alpha: float = 0.05,
    how: Resampling = IN_TIME,
    least_rows: int = LEAST_ROWS,
) -> tuple[MetricValue, ...]:
    """Each metric on the rows that have a label; None with a reason where there are too few, or one class only."""
    usable = scorable_rows(observed)
    y, prediction = observed.y[usable], observed.prediction[usable]
    return _values(measures, y, prediction, alpha, how, max(2, least_rows))


def scorable_rows(observed: ObservedRows) -> Mask:
    """(rows,) mask of the rows with a label and a finite prediction, on which a metric can be computed."""
    return observed.has_label & predicted_rows(observed)


def predicted_rows(observed: ObservedRows) -> Mask:
    """(rows,) mask of the rows with a finite prediction."""
    finite = np.isfinite(observed.prediction)
    return np.asarray(finite if finite.ndim == 1 else finite.all(axis=1), dtype=np.bool_)


def metrics_over_time(
    observed: ObservedRows,
    windows: Sequence[Window],
    measures: Sequence[Measure],
    alpha: float = 0.05,
    how: Resampling = IN_TIME,
    least_rows: int = LEAST_ROWS,
) -> tuple[PerformancePoint, ...]:
    """The metrics of each window; see `Window.parts` and `windows_of_rows`."""
    points = []
    for window in windows:
        part = observed.within(window)
        points.append(PerformancePoint(window, len(part), metric_values(part, measures, alpha, how, least_rows)))
    return tuple(points)


def windows_of_rows(observed: ObservedRows, rows: int) -> tuple[Window, ...]:
    """Windows of at least `rows` rows each, a new one only where the time moves on; a short rest joins the last."""
    if rows < 1:
        raise InvalidRequest(f"rows must be at least 1, got {rows}")
    time = observed.time
    if not len(time):
        return ()
    starts = [0]
    while starts[-1] + 2 * rows <= len(time):
        following = int(np.searchsorted(time, time[starts[-1] + rows]))
        if following - starts[-1] < rows:  # the instant began earlier: all of its rows go into this window
            following = int(np.searchsorted(time, time[starts[-1] + rows], side="right"))
        if len(time) - following < rows:
            break
        starts.append(following)
    edges = [*(float(time[start]) for start in starts), math.nextafter(float(time[-1]), math.inf)]
    return tuple(Window(start, end) for start, end in pairwise(edges))


def difference(one: Interval, other: Interval) -> Interval:
    """`one - other` of two independent intervals, which keeps their lopsidedness.

    MOVER: Zou and Donner 2008, Construction of confidence limits about effect measures.
    """
    estimate = one.estimate - other.estimate
    below = math.hypot(max(0.0, one.estimate - one.low), max(0.0, other.high - other.estimate))
    above = math.hypot(max(0.0, one.high - one.estimate), max(0.0, other.estimate - other.low))
    return Interval(estimate, estimate - below, estimate + above, one.alpha)


def degradations(
    reference: Sequence[MetricValue],
    current: Sequence[MetricValue],
    threshold: float,
    watched: Collection[str] | None = None,
) -> tuple[Degradation, ...]:
    """The fall of each current metric that the reference also has; `watched` are the names of those that alarm."""
    before = {value.name: value for value in reference}
    return tuple(
        replace(_degradation(before[value.name], value, threshold), watched=watched is None or value.name in watched)
        for value in current
        if value.name in before
    )


def metrics_by_slice(
    observed: ObservedRows,
    measure: Measure,
    columns: Sequence[str],
    alpha: float = 0.05,
    how: Resampling = IN_TIME,
    least_rows: int = LEAST_ROWS,
) -> tuple[SliceValue, ...]:
    """The metric on each value of the columns, and whether it is worse there than on the rest; all tested together."""
    labelled = observed.where(scorable_rows(observed))
    whole = _value(measure, labelled.y, labelled.prediction, alpha, how, max(2, least_rows))
    slices = []
    for part in slices_of(labelled, columns):
        inside = _value(measure, labelled.y[part.rows], labelled.prediction[part.rows], alpha, how, max(2, least_rows))
        rest = _rest_value(measure, labelled, ~part.rows, whole, how, max(2, least_rows))
        slices.append(_slice_value(part, inside, rest))
    testable = [index for index, value in enumerate(slices) if value.p_value is not None]
    if testable:
        p_values = false_discovery_control([slices[index].p_value or 0.0 for index in testable])
        for index, p_value in zip(testable, p_values, strict=True):
            shortfall = slices[index].shortfall
            worse = bool(p_value <= alpha) and shortfall is not None and shortfall.estimate > 0
            slices[index] = replace(slices[index], p_value=float(p_value), worse=worse)
    return tuple(slices)


def _value(
    measure: Measure, y: Vector, prediction: Prediction, alpha: float, how: Resampling, least_rows: int
) -> MetricValue:
    return _values((measure,), y, prediction, alpha, how, least_rows)[0]


def _values(
    measures: Sequence[Measure], y: Vector, prediction: Prediction, alpha: float, how: Resampling, least_rows: int
) -> tuple[MetricValue, ...]:
    """Each measure, all on the same resamples."""
    reasons = [_unfit_reason(measure, y, least_rows) for measure in measures]
    fit = [(measure.score, measure.resampled) for measure, reason in zip(measures, reasons, strict=True) if not reason]
    intervals = iter(bootstrap_intervals(fit, y, prediction, alpha, how) if fit else ())
    values = []
    for measure, reason in zip(measures, reasons, strict=True):
        value = MetricValue(measure.name, measure.maximize, measure.bounded, len(y), reason=reason)
        interval = None if reason else next(intervals)
        if isinstance(interval, Interval):
            # Resamples of a calibration error are biased upwards: its interval may not reach down to the estimate.
            low, high = min(interval.low, interval.estimate), max(interval.high, interval.estimate)
            value = replace(value, interval=Interval(interval.estimate, low, high, alpha))
        elif interval is not None:
            value = replace(value, reason=str(interval))
        values.append(value)
    return tuple(values)


def _unfit_reason(measure: Measure, y: Vector, least_rows: int) -> str:
    """The reason why the metric is undefined or noise on these labels; empty where it is neither."""
    if len(y) < least_rows:
        return f"{len(y):,} labelled rows, at least {least_rows:,} are needed"
    if measure.needs_classes and (y == y[0]).all():
        return f"all {len(y):,} labelled rows are of one class"
    return ""


def _degradation(reference: MetricValue, current: MetricValue, threshold: float) -> Degradation:
    degradation = Degradation(reference, current, threshold)
    if reference.interval is None or current.interval is None:
        which = "the reference" if reference.interval is None else "the window"
        return replace(degradation, reason=f"{which}: {reference.reason or current.reason}")
    drop = _shortfall(current, reference)
    if not current.bounded:
        scale = abs(reference.interval.estimate)
        if scale == 0:
            return replace(degradation, reason="the reference is 0, so there is no share of it")
        drop = Interval(drop.estimate / scale, drop.low / scale, drop.high / scale, drop.alpha)
    return replace(degradation, drop=drop, degraded=drop.estimate >= threshold and drop.low > 0)


def _shortfall(value: MetricValue, against: MetricValue) -> Interval:
    """The difference by which `value` is worse than `against`; above 0 is worse for metrics of either direction."""
    assert value.interval is not None
    assert against.interval is not None
    if value.maximize:
        return difference(against.interval, value.interval)
    return difference(value.interval, against.interval)


def _rest_value(
    measure: Measure, rows: ObservedRows, outside: Mask, whole: MetricValue, how: Resampling, least_rows: int
) -> MetricValue:
    """The metric on the rows outside of a slice.

    Where these are most of the rows, the interval is that of all rows, wider by the root of the ratio of their numbers:
    a bootstrap for each slice would draw nearly all the rows each time.
    """
    y, prediction = rows.y[outside], rows.prediction[outside]
    whole_interval = whole.interval
    if whole_interval is None:
        return replace(whole, rows=len(y))
    if 2 * len(y) < len(rows):
        return _value(measure, y, prediction, whole_interval.alpha, how, least_rows)
    value = replace(whole, rows=len(y), interval=None)
    if reason := _unfit_reason(measure, y, least_rows):
        return replace(value, reason=reason)
    try:
        score = measure.score(y, prediction)
    except InvalidData as error:
        return replace(value, reason=str(error))
    wider = math.sqrt(len(rows) / len(y))
    low, high = (score + wider * (edge - whole_interval.estimate) for edge in (whole_interval.low, whole_interval.high))
    return replace(value, interval=Interval(score, low, high, whole_interval.alpha))


def _slice_value(part: Slice, inside: MetricValue, rest: MetricValue) -> SliceValue:
    value = SliceValue(part.column, part.value, inside, rest)
    if inside.interval is None or rest.interval is None:
        return value
    shortfall = _shortfall(inside, rest)
    spread = (shortfall.high - shortfall.low) / (2 * float(norm.isf(shortfall.alpha / 2)))
    if not spread > 0:
        return replace(value, shortfall=shortfall)
    p_value = float(2 * norm.sf(abs(shortfall.estimate) / spread))
    return replace(value, shortfall=shortfall, p_value=p_value)
