"""Estimated performance of a window before its labels arrive, and the check of past estimates against labels.

A classifier has PAPE and a regression a model of its loss; both weigh the reference's rows to be like the window's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import binom

from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import LEAST_ROWS, Measure, predicted_rows, scorable_rows
from optagent.domain.performance import Coverage, EstimatedMetric, EstimatedPerformance
from optagent.domain.study import Interval
from optagent.errors import InvalidData

History = Mapping[str, Sequence[tuple[Interval, float]]]
"""By metric: the estimates of past windows, each with the value that came true."""

LEAST_REFERENCE_ROWS = 200
LEAST_CHECKS = 8
"""Past windows with labels that can check an estimate: of one that holds half of the time, enough miss in six of seven
cases."""
_REFUSED_BELOW = 0.05


@dataclass(frozen=True, slots=True)
class WindowEstimate:
    """Intervals by metric, empty with a `refusal`: the reason why the reference cannot speak of this window."""

    intervals: Mapping[str, Interval]
    refusal: str = ""


class Estimator(Protocol):
    """Estimates metrics of rows without their labels."""

    def estimate(self, window: ObservedRows, measures: Sequence[Measure], alpha: float) -> WindowEstimate:
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
    past = history or {}
    estimate = estimator.estimate(rows, measures, alpha)
    if estimate.refusal:
        has_failed = any(_has_failed(coverage(pairs), _REFUSED_BELOW / len(past)) for pairs in past.values())
        return EstimatedPerformance(len(rows), (), False if has_failed else None, f"not estimated: {estimate.refusal}")
    estimable = [measure for measure in measures if measure.name in estimate.intervals]
    limit = _REFUSED_BELOW / max(1, len(estimable))
    metrics = tuple(
        _estimated_metric(measure, estimate.intervals[measure.name], past.get(measure.name, ()), limit)
        for measure in estimable
    )
    return EstimatedPerformance(len(rows), metrics, *_trust(metrics))


def _trust(metrics: Sequence[EstimatedMetric]) -> tuple[bool | None, str]:
    """False as soon as one metric failed, None while one is unchecked; with the reasons."""
    if not metrics:
        return None, "no metric can be estimated"
    trusted = False if any(metric.trusted is False for metric in metrics) else None
    doubtful = [metric for metric in metrics if metric.trusted is trusted]
    if trusted is None and not doubtful:
        return True, ""
    if trusted is None and len({metric.reason for metric in doubtful}) == 1:
        return None, doubtful[0].reason
    return trusted, "; ".join(f"{metric.name}: {metric.reason}" for metric in doubtful)


def estimate_history(
    estimator: Estimator, windows: Sequence[ObservedRows], measures: Sequence[Measure], alpha: float = 0.05
) -> dict[str, list[tuple[Interval, float]]]:
    """Estimates of past windows beside the truth, on the rows whose labels are known.

    Short windows are left out, and those for which the estimate is refused.
    """
    history: dict[str, list[tuple[Interval, float]]] = {}
    for window in windows:
        rows = window.where(scorable_rows(window))
        if len(rows) < LEAST_ROWS:
            continue
        intervals = estimator.estimate(rows, measures, alpha).intervals
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
    trusted: bool | None = None
    reason = f"not checked yet: {past_coverage.windows} past windows have labels, {LEAST_CHECKS} are needed"
    if _has_failed(past_coverage, limit):
        trusted = False
        reason = (
            f"the truth fell outside the estimate in {past_coverage.missed} of {past_coverage.windows} past windows,"
            f" {past_coverage.expected * past_coverage.windows:.1f} were to be expected"
        )
    elif past_coverage.windows >= LEAST_CHECKS:
        trusted, reason = True, ""
    return EstimatedMetric(measure.name, measure.maximize, measure.bounded, interval, trusted, past_coverage, reason)


def _has_failed(past: Coverage, limit: float) -> bool:
    return past.p_value is not None and past.p_value < limit
