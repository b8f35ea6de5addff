"""Reports of a model, as the views of them are shown."""

import pytest

from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift, Direction, DriftState
from optagent.domain.diagnosis import Cause, Condition, Diagnosis, Remedy
from optagent.domain.diagnosis import ConfidenceLevel as Sureness
from optagent.domain.drift import (
    ColumnDrift,
    DriftCheck,
    DriftReport,
    DriftStatus,
    DriftTest,
    Separability,
    SeparabilityReport,
    Summary,
)
from optagent.domain.model_report import Business, ModelReport, ReferenceSummary
from optagent.domain.monitoring import AnalysisType, Window
from optagent.domain.performance import (
    AttributionShift,
    CalibrationPoint,
    Certainty,
    Coverage,
    Degradation,
    EstimatedMetric,
    EstimatedPerformance,
    FeatureShift,
    Latency,
    MetricValue,
    ModelConfidence,
    Performance,
    PerformancePoint,
    SliceValue,
    UncertainSlice,
)
from optagent.domain.quality import DataQuality, RowProblem
from optagent.domain.study import Interval

START = 1_199_145_600.0  # 2008-01-01
DAY = 86_400.0
WINDOW = Window(START, START + 30 * DAY)
EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="session")
def evil_name() -> str:
    """A name in the data of `full_report` that a page must not take for its own."""
    return EVIL


@pytest.fixture(scope="session")
def full_report() -> ModelReport:
    """Everything that can be known of the window of a classifier: January 2008."""
    return ModelReport(
        model_id="trading_model_v1",
        version="7",
        analysis_type=AnalysisType.FULL,
        window=WINDOW,
        created_at=WINDOW.end + 60,
        diagnosis=Diagnosis(
            Condition.CONCEPT_DRIFT,
            Remedy.RETRAIN,
            ("auc was .81 and is .71", "the drift does not explain the loss"),
            (Cause("range_21", 0.62, 0.5, 0.4, 0.031, "drifted by 0.50, 40% of the importance"),),
            (Remedy.RE_TUNE, Remedy.ENSEMBLE),
            Sureness.HIGH,
        ),
        findings=(
            Finding(AlertKind.DATA_DRIFT, Severity.WARNING, "2 features have drifted"),
            Finding(AlertKind.PERFORMANCE, Severity.CRITICAL, f"auc fell by 0.1 {EVIL}"),
        ),
        quality=DataQuality(
            12_000,
            900,
            {RowProblem.MISSING: 1440, RowProblem.EXTRA: 0},
            {"range_21": {RowProblem.MISSING: 1428}, "idle": {}, EVIL: {RowProblem.MISSING: 12}},
        ),
        reference=ReferenceSummary(40_000, 39_000),
        drift=_drift(),
        separability=SeparabilityReport(Separability.SEPARABLE, 2000, 2000, _around(0.81), {"range_21": 0.2}),
        performance=_performance(),
        estimated=_estimated(),
        concept_drift=_concept_drift(),
        attribution=AttributionShift(
            (
                FeatureShift("volume", 0.2, 0.45, 2, 1),
                FeatureShift("range_21", 0.4, 0.2, 1, 2),
                FeatureShift(EVIL, 0.1, 0.1, 3, 3),
            ),
            0.84,
            0.9,
            True,
            ("volume", "range_21"),
        ),
        confidence=_confidence(),
        latency=Latency(11_990, 8, 2, 1.234, 4.5, 9.87, 51.2),
        business=Business((_change("profit", 1.2, 0.9, bounded=False),), _points(("profit", 1.2, 0.7))),
        notes=("attributions are of 2,000 rows",),
    )


@pytest.fixture(scope="session")
def regression_report() -> ModelReport:
    """A stable regression, of which little is known."""
    changes = (
        _change("rmse", 12.0, 12.1, maximize=False, bounded=False),
        _change("r2", 0.8, 0.81),
        _change("mae", 0.0, 0.0),
    )
    return ModelReport(
        model_id="delays",
        analysis_type=AnalysisType.PERFORMANCE,
        diagnosis=Diagnosis(Condition.STABLE, Remedy.NOTHING, ("no metric has fallen",)),
        performance=Performance(500, 400, tuple(one.current for one in changes), (), (), changes),
    )


def _around(estimate: float, half: float = 0.02) -> Interval:
    return Interval(estimate, estimate - half, estimate + half, 0.05)


def _metric(name: str, value: float | None, maximize: bool = True, bounded: bool = True) -> MetricValue:
    interval = None if value is None else _around(value)
    return MetricValue(name, maximize, bounded, 900, interval, "" if interval else "all labelled rows are of one class")


def _change(name: str, then: float, now: float, maximize: bool = True, bounded: bool = True) -> Degradation:
    fall = (then - now) * (1 if maximize else -1) / (1 if bounded else then)
    before, after = _metric(name, then, maximize, bounded), _metric(name, now, maximize, bounded)
    return Degradation(before, after, 0.05, _around(fall, 0.015), degraded=fall >= 0.05)


def _points(*courses: tuple[str, float, float]) -> tuple[PerformancePoint, ...]:
    """Metrics that go from one value to another; the fifth part has no labels."""
    return tuple(
        PerformancePoint(
            part,
            400,
            tuple(
                _metric(name, None if index == 4 else first + (last - first) * max(0, index - 10) / 19)
                for name, first, last in courses
            ),
        )
        for index, part in enumerate(WINDOW.parts(30))
    )


def _performance() -> Performance:
    return Performance(
        12_000,
        900,
        (_metric("auc", 0.71), _metric("log_loss", 0.6), _metric("recall", None)),
        _points(("auc", 0.81, 0.66), ("log_loss", 0.5, 0.7)),
        (
            SliceValue("sector", "oil", _metric("auc", 0.6), _metric("auc", 0.75), _around(0.15), 1e-4, worse=True),
            SliceValue("sector", f"gas {EVIL}", _metric("auc", 0.74), _metric("auc", 0.73), _around(-0.01), 0.7),
        ),
        (_change("auc", 0.81, 0.71), _change("log_loss", 0.8, 0.6, maximize=False, bounded=False)),
    )


def _estimated() -> EstimatedPerformance:
    return EstimatedPerformance(
        12_000,
        (
            EstimatedMetric("auc", True, True, _around(0.8), False, Coverage(10, 6, 0.05, 1e-6), "missed 6 of 10"),
            EstimatedMetric("brier", False, True, _around(0.2), True, Coverage(10, 1, 0.05, 0.4)),
            EstimatedMetric("recall", True, True, _around(0.5)),
        ),
        False,
        "auc: missed 6 of 10",
    )


def _concept_drift() -> ConceptDrift:
    return ConceptDrift(
        DriftState.DETECTED,
        loss="brier score",
        rows=900,
        reference_rows=40_000,
        arl_rows=90_000.0,
        threshold=90_000.0,
        e_value=4.2e12,
        alarmed_at=START + 16.2 * DAY,
        changed_at=START + 11 * DAY,
        reference_loss=0.18,
        excess=_around(0.05),
        direction=Direction.WORSE,
        adwin=AdwinVerdict(True, START + 19 * DAY, Direction.WORSE),
    )


def _confidence() -> ModelConfidence:
    def curve(bend: float) -> tuple[CalibrationPoint, ...]:
        return tuple(CalibrationPoint(p / 10, min(1.0, (p / 10) ** bend), 90) for p in range(1, 10))

    then = Certainty(40_000, 40_000, 0.61, 0.42, curve(1.05), _metric("calibration_error", 0.03))
    now = Certainty(12_000, 900, 0.74, 0.58, curve(0.6), _metric("calibration_error", 0.11))
    return ModelConfidence(0.8, now, then, (UncertainSlice("sector", "oil", 800, 0.81, 0.5, 2e-9),))


def _drift() -> DriftReport:
    quiet = [*(f"quiet_{index}" for index in range(18)), "the_longest_name_of_all_features_of_this_model"]
    features = (
        *(_column(name, DriftStatus.STABLE, 0.02, 0.001) for name in quiet),
        _column(EVIL, DriftStatus.STABLE, 0.01, 0.001),
        _column("weighty", DriftStatus.STABLE, 0.04, 0.4),
        _column("range_21", DriftStatus.DRIFTED, 0.5, 0.3, DriftCheck.MISSING),
        _column("volume", DriftStatus.SUSPECTED, 0.2, 0.1),
        _column("idle", DriftStatus.DRIFTED, 0.9, 0.0),
        _sector(),
    )
    output = (_column("probability", DriftStatus.DRIFTED, 0.4, 0.0),)
    return DriftReport(
        40_000, 12_000, 11_500, 0.011, DriftStatus.DRIFTED, 0.1723, features, DriftStatus.DRIFTED, 0.4, output
    )


def _column(name: str, status: DriftStatus, effect: float, weight: float, check=DriftCheck.VALUES) -> ColumnDrift:
    return ColumnDrift(
        name,
        "numeric",
        status,
        effect,
        weight,
        then=Summary(40_000, 0.001, mean=1.25),
        now=Summary(12_000, 0.12, mean=1.75),
        tests=(
            DriftTest(DriftCheck.VALUES, DriftStatus.STABLE, 0.001, 0.5, 0.9),
            DriftTest(check, status, effect, 1e-6, 4e-5, 1e-12, 3e-11),
        ),
        psi=0.31,
        wasserstein=0.8,
    )


def _sector() -> ColumnDrift:
    then, now = {"bank": 0.4, "oil": 0.5, "tin": 0.1}, {"bank": 0.1, "oil": 0.6, "gas": 0.3}
    before, after = Summary(40_000, 0.0, shares=then), Summary(12_000, 0.0, unseen=0.3, shares=now)
    return ColumnDrift("sector", "categorical", DriftStatus.UNKNOWN, 0.0, 0.0, before, after)
