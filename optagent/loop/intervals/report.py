"""Coverage in a report: the share of a window's outcomes that the model's 90 % intervals covered, as a metric."""

from dataclasses import replace

import numpy as np

from optagent.conformal.coverage import WATCHED, coverage_interval
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue
from optagent.domain.prediction_interval import IntervalRecord

COVERAGE = "coverage_90"
"""The name of the metric."""

_DAY_S = 86_400.0
_LEAST_ROWS = 30


def with_coverage(report: ModelReport, record: IntervalRecord | None, window: Window) -> ModelReport:
    """The report with the coverage among its metrics, where the model has intervals and outcomes on days of the window.

    Whole days are counted.
    """
    if record is None or report.performance is None:
        return report
    first, end = window.start / _DAY_S - 1, window.end / _DAY_S
    days = [counts for day, counts in record.covered.items() if first < int(day) < end]
    if not days:
        return report
    totals = np.sum(days, axis=0)
    rows, covered = int(totals[0]), int(totals[1 + WATCHED])
    value = MetricValue(COVERAGE, True, True, rows, reason=f"{rows} labelled rows are fewer than {_LEAST_ROWS}")
    if rows >= _LEAST_ROWS:
        value = replace(value, interval=coverage_interval(rows, covered), reason="")
    performance = replace(report.performance, metrics=(*report.performance.metrics, value))
    return replace(report, performance=performance)
