"""Maturity weights: realised metrics of a young window, corrected for the labels that have not come yet.

A labelled row stands for 1 / P(label has come by its age | its outcome) rows of the window (Horvitz and Thompson 1952,
as a ratio: Hájek 1971): that of an outcome whose labels come late for more. So a delay that depends on the outcome does
not bias the metric, as it does in delayed feedback (Chapelle 2014, Modeling delayed feedback in display advertising).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from optagent.analysis.bootstrap import Resampling, draws
from optagent.analysis.label_maturity import MATURE, Bins, MaturityCurve
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import IN_TIME, LEAST_ROWS, Measure, scorable_rows
from optagent.arrays import Mask, Multiplicities, Vector
from optagent.domain.label_maturity import WindowMaturity
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue, PerformancePoint
from optagent.domain.study import Interval

Scores = Callable[[Multiplicities], Vector]

_LEAST_SHARE = 0.1  # of an outcome's labels, by an age: below it a row would stand for more than ten


@dataclass(frozen=True, slots=True, eq=False)
class WeightedRows:
    """The labelled rows that a correction uses, with (rows,) weights, and (draws, rows) that hold the curve's error."""

    observed: ObservedRows
    weights: Vector
    draws: Vector
    groups: Bins

    @property
    def effective_rows(self) -> float:
        """The number of equally weighted rows of the same precision (Kish 1965)."""
        return _effective_rows(self.weights)

    @property
    def freedom(self) -> float:
        """The degrees of freedom of an interval: the effective rows of the outcome with the fewest, less one."""
        least = min(_effective_rows(self.weights[self.groups == group]) for group in np.unique(self.groups))
        return max(1.0, least - 1)

    def within(self, window: Window) -> "WeightedRows":
        first, last = np.searchsorted(self.observed.time, [window.start, window.end])
        part = slice(int(first), int(last))
        return WeightedRows(self.observed.within(window), self.weights[part], self.draws[:, part], self.groups[part])


def outcome_groups(y: Vector, n_outcomes: int, edges: Sequence[float]) -> Bins:
    """The outcome of each row that a curve tells apart: its class, or the part of a regression's target."""
    if len(edges):
        return np.asarray(np.searchsorted(np.asarray(edges), y, side="right"), dtype=np.int64)
    return np.clip(y, 0, n_outcomes - 1).astype(np.int64)


def outcome_edges(y: Vector, task: Task) -> tuple[float, ...]:
    """The quartiles of the known values of a regression's target; none for a classifier."""
    known = y[~np.isnan(y)]
    if task.classifies or not len(known):
        return ()
    return tuple(float(edge) for edge in np.unique(np.quantile(known, (0.25, 0.5, 0.75))))


def weigh_rows(
    observed: ObservedRows, curve: MaturityCurve, edges: Sequence[float], now: float
) -> tuple[WeightedRows, WindowMaturity]:
    """The rows of a window with weights, and its maturity.

    The youngest rows, at whose age an outcome has hardly any label yet, are left out: those labels are not there to be
    weighted. Where that leaves too few rows, the maturity is not `corrected`, and says why.
    """
    age = now - observed.time
    youngest_s = curve.age_of(_LEAST_SHARE)
    usable = scorable_rows(observed) & (age >= youngest_s)
    rows = observed.where(usable)
    groups = outcome_groups(rows.y, len(curve.outcomes), edges)
    weights = 1 / curve.shares_at(groups, age[usable])
    drawn = 1 / np.maximum(curve.draws_at(groups, age[usable]), _LEAST_SHARE / 2)
    weighted = WeightedRows(rows, weights, drawn, groups)
    share = _share_that_came(observed, age >= youngest_s, weights)
    maturity = WindowMaturity(
        provisional=share is None or share < MATURE,
        share=share,
        corrected=weighted.effective_rows >= LEAST_ROWS,
        effective_rows=weighted.effective_rows,
        matures_at=_maturing_time(observed, curve),
    )
    left_out = int((observed.has_label & (age < youngest_s)).sum())
    return weighted, replace(maturity, note=_note(maturity, left_out, youngest_s))


def corrected_metric_values(
    weighted: WeightedRows,
    measures: Sequence[Measure],
    alpha: float = 0.05,
    how: Resampling = IN_TIME,
    least_rows: int = LEAST_ROWS,
) -> tuple[MetricValue, ...]:
    """Each metric on the weighted rows. Its interval is as wide as the weights make it, and holds the curve's error:
    each resample has a curve of its own; quantiles are those of t for the outcome with the fewest effective rows."""
    reasons = [_unfit_reason(weighted, measure, max(2, least_rows)) for measure in measures]
    fit = [measure for measure, reason in zip(measures, reasons, strict=True) if not reason]
    y, prediction = weighted.observed.y, weighted.observed.prediction
    scores = [measure.resampled(y, prediction) for measure in fit if measure.resampled is not None]
    intervals = dict(zip((measure.name for measure in fit), _intervals(weighted, scores, alpha, how), strict=True))
    return tuple(
        MetricValue(
            measure.name, measure.maximize, measure.bounded, len(y), interval=intervals.get(measure.name), reason=reason
        )
        for measure, reason in zip(measures, reasons, strict=True)
    )


def corrected_over_time(
    weighted: WeightedRows, observed: ObservedRows, windows: Sequence[Window], measures: Sequence[Measure]
) -> tuple[PerformancePoint, ...]:
    """The corrected metrics of each window; `observed` holds all rows, labelled or not."""
    return tuple(
        PerformancePoint(
            window, len(observed.within(window)), corrected_metric_values(weighted.within(window), measures)
        )
        for window in windows
    )


def _share_that_came(observed: ObservedRows, usable: Mask, weights: Vector) -> float | None:
    """The labels of the window, by the number that is expected in the end; None without a weighted row."""
    if not len(weights):
        return None
    expected = float(weights.sum()) * len(observed) / int(usable.sum())
    return min(1.0, float(scorable_rows(observed).sum()) / expected)


def _maturing_time(observed: ObservedRows, curve: MaturityCurve) -> float | None:
    return float(observed.time[-1]) + curve.age_of(MATURE) if len(observed) else None


def _note(maturity: WindowMaturity, left_out: int, youngest_s: float) -> str:
    if not maturity.provisional:
        return ""
    if not maturity.corrected:
        return (
            "labels of some outcomes have hardly begun to come, so the metrics are of the labels that came, uncorrected"
        )
    young = f"; {left_out:,} labels of rows younger than {youngest_s / 3600:.3g} h are left out" if left_out else ""
    return f"corrected for labels that have not come yet{young}"


def _unfit_reason(weighted: WeightedRows, measure: Measure, least_rows: int) -> str:
    """The reason why a metric cannot be computed on these rows; empty without one."""
    y = weighted.observed.y
    if weighted.effective_rows < least_rows:
        return f"weights leave {weighted.effective_rows:.0f} effective rows, at least {least_rows:,} are needed"
    if measure.needs_classes and (y == y[0]).all():
        return f"all {len(y):,} labelled rows are of one class"
    if measure.resampled is None:
        return "this metric cannot be weighted: it is known once the labels have matured"
    return ""


def _intervals(weighted: WeightedRows, scores: Sequence[Scores], alpha: float, how: Resampling) -> list[Interval]:
    """The interval of each score, all on the same resamples, and each resample with a curve of its own."""
    if not scores:
        return []
    parts: list[list[Vector]] = [[] for _ in scores]
    rows = 0
    for counts in draws(len(weighted.weights), how):
        counts = counts[: how.resamples - rows]
        weighted_counts = counts * weighted.draws[np.arange(rows, rows + len(counts)) % len(weighted.draws)]
        for part, score in zip(parts, scores, strict=True):
            part.append(score(weighted_counts))
        rows += len(counts)
        if rows >= how.resamples:
            break
    return [_interval(score, np.concatenate(part), weighted, alpha) for score, part in zip(scores, parts, strict=True)]


def _interval(score: Scores, values: Vector, weighted: WeightedRows, alpha: float) -> Interval:
    estimate = float(score(weighted.weights[None])[0])
    low, high = np.nanquantile(values, [alpha / 2, 1 - alpha / 2])
    wider = float(student.ppf(1 - alpha / 2, weighted.freedom) / norm.ppf(1 - alpha / 2))
    low, high = (estimate + wider * (float(edge) - estimate) for edge in (low, high))
    return Interval(estimate, min(low, estimate), max(high, estimate), alpha)


def _effective_rows(weights: Vector) -> float:
    return float(weights.sum() ** 2 / np.square(weights).sum()) if len(weights) else 0.0
