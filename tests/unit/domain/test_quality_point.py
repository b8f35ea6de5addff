"""Quality points: the figures of a report that are kept for a year."""

from dataclasses import replace

import pytest

from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus, Summary
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.performance import EstimatedMetric, EstimatedPerformance, MetricValue, Performance
from optagent.domain.quality import DataQuality
from optagent.domain.quality_point import quality_point
from optagent.domain.study import Interval

WINDOW = Window(0.0, 86_400.0)
REALISED, ESTIMATED = Interval(0.3, 0.2, 0.4, 0.05), Interval(0.35, 0.1, 0.6, 0.05)


def a_column(name: str, weight: float, effect: float) -> ColumnDrift:
    return ColumnDrift(name, "numeric", DriftStatus.STABLE, effect, weight, Summary(9, 0.0), Summary(9, 0.0))


@pytest.fixture
def report() -> ModelReport:
    """A report with all that points keep."""
    columns = tuple(a_column(f"f{number}", number / 100, number / 50) for number in range(40))
    return ModelReport(
        "churn",
        "3",
        window=WINDOW,
        created_at=90_000.0,
        findings=(Finding(AlertKind.LATENCY, Severity.INFO, "slow"), Finding(AlertKind.LATENCY, Severity.INFO, "slow")),
        quality=DataQuality(100, 60),
        performance=Performance(
            100,
            60,
            (
                MetricValue("auc", True, True, 60, Interval(0.9, 0.8, 1.0, 0.05)),
                MetricValue("log_loss", False, False, 60, REALISED),
                MetricValue("calibration_error", False, True, 60, Interval(0.02, 0.01, 0.03, 0.05)),
            ),
        ),
        estimated=EstimatedPerformance(100, (EstimatedMetric("log_loss", False, False, ESTIMATED, False),)),
        drift=DriftReport(9, 9, None, 0.01, DriftStatus.STABLE, 0.2, columns, DriftStatus.STABLE, 0.0, ()),
    )


def test_a_point_has_the_figures_of_the_models_own_metric(report: ModelReport) -> None:
    point = quality_point(report, "log_loss")
    assert point is not None
    assert (point.realised, point.estimated, point.trusted) == (REALISED, ESTIMATED, False)
    assert (point.metric, point.maximize, point.version) == ("log_loss", False, "3")
    assert (point.rows, point.labelled, point.created_at, point.drift) == (100, 60, 90_000.0, 0.2)
    assert (point.calibration_error, point.findings) == (0.02, ("latency",))


def test_only_the_most_important_columns_are_kept(report: ModelReport) -> None:
    point = quality_point(report, "log_loss")
    assert point is not None
    assert len(point.effects) == 30
    assert max(point.effects, key=lambda name: point.effects[name]) == "f39"
    assert "f9" not in point.effects


def test_a_report_of_drift_alone_has_a_point_without_a_metric(report: ModelReport) -> None:
    point = quality_point(replace(report, performance=None, estimated=None), "log_loss")
    assert point is not None
    assert (point.realised, point.estimated, point.calibration_error) == (None, None, None)


def test_an_analysis_that_failed_has_no_point(report: ModelReport) -> None:
    assert quality_point(replace(report, error="no rows"), "log_loss") is None
    assert quality_point(replace(report, window=None), "log_loss") is None
