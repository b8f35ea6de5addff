"""Coverage in a report: a metric of the days of its window."""

import pytest

from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue, Performance
from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds
from optagent.loop.intervals.report import COVERAGE, with_coverage

DAY = 86_400.0
RECORD = IntervalRecord(
    "rent",
    "1",
    0.0,
    {},
    IntervalThresholds((1.0, 2.0, 3.0, 4.0, 5.0)),
    covered={"9": (100, 0, 0, 10, 0, 0), "10": (100, 50, 80, 91, 95, 99), "11": (20, 10, 16, 18, 19, 20)},
)
REPORT = ModelReport(performance=Performance(rows=1, labelled=1, metrics=(MetricValue("rmse", False, False, 1),)))


def coverage_metrics(start: float, end: float, record: IntervalRecord | None = RECORD) -> list[MetricValue]:
    """The metrics of the coverage in a report of a window of days."""
    performance = with_coverage(REPORT, record, Window(start * DAY, end * DAY)).performance
    assert performance is not None
    assert performance.metrics[0].name == "rmse"
    return [metric for metric in performance.metrics if metric.name == COVERAGE]


@pytest.mark.parametrize(("start", "end", "rows", "share"), [(10, 11, 100, 0.91), (10.5, 12, 120, 109 / 120)])
def test_the_days_of_the_window_count(start: float, end: float, rows: int, share: float) -> None:
    [metric] = coverage_metrics(start, end)
    assert (metric.rows, metric.value) == (rows, pytest.approx(share))
    assert metric.interval is not None
    assert metric.interval.low < share < metric.interval.high


def test_few_outcomes_are_told_without_a_value() -> None:
    [metric] = coverage_metrics(11, 12)
    assert (metric.value, metric.rows) == (None, 20)
    assert "fewer than 30" in metric.reason


@pytest.mark.parametrize("record", [RECORD, None])
def test_without_intervals_or_outcomes_there_is_no_such_metric(record: IntervalRecord | None) -> None:
    assert coverage_metrics(20, 30, record) == []


def test_a_report_without_performance_stays_as_it_is() -> None:
    assert with_coverage(ModelReport(), RECORD, Window(0.0, DAY)) == ModelReport()
