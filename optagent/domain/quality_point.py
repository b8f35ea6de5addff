"""Quality point: the figures of one closed window of a model, few enough that a year of windows is kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optagent.domain.drift import ColumnDrift, DriftReport
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue
from optagent.domain.study import Interval

MOST_POINTS = 1000
"""Points of a model that a store keeps, the newest: two years and a half of daily windows."""
_MOST_COLUMNS = 30
CALIBRATION_ERROR = "calibration_error"


@dataclass(frozen=True, slots=True)
class QualityPoint:
    """A closed window of a model: its rows, its metric, realised and estimated, its drift and its verdict.

    `realised` is None where too few labels came, `estimated` where no estimate was made; `trusted` is that of the
    estimate. `drift` is the score of the drift report, and `effects` are those of its columns with most importance.
    `calibration_error` is between 0 and 1. `created_at` is the POSIX time of the analysis.
    """

    window: Window
    """The stretch of time whose requests are meant."""
    created_at: float
    """The POSIX time of the analysis."""
    version: str = ""
    """The version that was analyzed."""
    rows: int = 0
    """Requests of the window."""
    labelled: int = 0
    """Requests of the window whose labels have come."""
    metric: str = ""
    """The name of the model's metric."""
    maximize: bool = True
    """True where more of the metric is better."""
    realised: Interval | None = None
    """The metric by the labels that have come, with its interval."""
    estimated: Interval | None = None
    """The metric as estimated without labels, with its interval."""
    trusted: bool | None = None
    """False where past estimates failed their check by labels, None where none was checked."""
    calibration_error: float | None = None
    """The expected calibration error by the labels that have come."""
    drift: float | None = None
    """The importance-weighted drift of the features."""
    effects: Mapping[str, float] = field(default_factory=dict)
    """The drift of the columns with most importance, between 0 and 1."""
    findings: tuple[str, ...] = ()
    """The kinds of the findings."""
    verdict: str = ""
    """The verdict of the diagnosis."""


def quality_point(report: ModelReport, metric: str) -> QualityPoint | None:
    """The point of a report about the model's `metric`; None for a report without a window, or with an error."""
    if report.window is None or report.error is not None:
        return None
    performance, estimate, drift, quality = report.performance, report.estimated, report.drift, report.quality
    realised = _metric_named(metric, performance.metrics) if performance is not None else None
    estimated = next((one for one in estimate.metrics if one.name == metric), None) if estimate is not None else None
    calibration = _metric_named(CALIBRATION_ERROR, performance.metrics) if performance is not None else None
    directed = realised or estimated
    return QualityPoint(
        report.window,
        report.created_at or report.window.end,
        report.version or "",
        0 if quality is None else quality.rows,
        0 if quality is None else quality.labelled,
        metric,
        directed is None or directed.maximize,
        None if realised is None else realised.interval,
        None if estimated is None else estimated.interval,
        None if estimated is None else estimated.trusted,
        None if calibration is None else calibration.value,
        None if drift is None else drift.score,
        {} if drift is None else _effects(drift),
        tuple(dict.fromkeys(str(finding.kind) for finding in report.findings)),
        "" if report.diagnosis is None else str(report.diagnosis.verdict),
    )


def _metric_named(name: str, metrics: Iterable[MetricValue]) -> MetricValue | None:
    return next((metric for metric in metrics if metric.name == name), None)


def _effects(drift: DriftReport) -> dict[str, float]:
    """The effects of the columns with most importance, and of those that drifted most where all have the same."""

    def importance(column: ColumnDrift) -> tuple[float, float]:
        return column.weight, column.effect

    return {
        column.name: column.effect for column in sorted(drift.features, key=importance, reverse=True)[:_MOST_COLUMNS]
    }
