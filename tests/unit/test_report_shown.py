"""What the command line prints of a model's analysis and of its alerts."""

from io import StringIO

import pytest
from rich.console import Console

from optagent.domain.alert import Alert, AlertKind, Finding, Severity
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift, Direction, DriftState
from optagent.domain.diagnosis import Cause, Diagnosis, Remedy, Verdict
from optagent.domain.diagnosis import Confidence as Sureness
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
    Certainty,
    Confidence,
    Coverage,
    Degradation,
    EstimatedMetric,
    EstimatedPerformance,
    FeatureShift,
    Latency,
    MetricValue,
    Performance,
    SliceValue,
    UncertainSlice,
)
from optagent.domain.quality import DataQuality, Problem
from optagent.domain.study import Interval
from optagent.terminal_report import show_alerts, show_report

START = 1_199_145_600.0  # 2008-01-01
DAY = 86_400.0


def around(estimate: float, half: float = 0.02) -> Interval:
    return Interval(estimate, estimate - half, estimate + half, 0.05)


def metric(name: str, value: float | None, maximize: bool = True, bounded: bool = True) -> MetricValue:
    interval = None if value is None else around(value)
    return MetricValue(name, maximize, bounded, 900, interval, "" if interval else "all labelled rows are of one class")


def change(name: str, then: float, now: float, maximize: bool = True, bounded: bool = True) -> Degradation:
    fall = (then - now) * (1 if maximize else -1) / (1 if bounded else then)
    before, after = metric(name, then, maximize, bounded), metric(name, now, maximize, bounded)
    return Degradation(before, after, 0.05, around(fall), degraded=fall >= 0.05)


def column(name: str, status: DriftStatus, effect: float, weight: float, check=DriftCheck.VALUES) -> ColumnDrift:
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
    )


def sector() -> ColumnDrift:
    then, now = {"bank": 0.4, "oil": 0.5, "tin": 0.1}, {"bank": 0.1, "oil": 0.6, "gas": 0.3}
    before, after = Summary(40_000, 0.0, shares=then), Summary(12_000, 0.0, unseen=0.3, shares=now)
    return ColumnDrift("sector", "categorical", DriftStatus.UNKNOWN, 0.0, 0.0, before, after)


def drift() -> DriftReport:
    stable = [column(f"quiet_{index}", DriftStatus.STABLE, 0.02, 0.001) for index in range(20)]
    features = (
        *stable,
        column("weighty", DriftStatus.STABLE, 0.04, 0.4),
        column("range_21", DriftStatus.DRIFTED, 0.5, 0.3, DriftCheck.MISSING),
        column("volume", DriftStatus.SUSPECTED, 0.2, 0.1),
        column("idle", DriftStatus.DRIFTED, 0.9, 0.0),
        sector(),
    )
    output = (column("probability", DriftStatus.DRIFTED, 0.4, 0.0),)
    return DriftReport(
        40_000, 12_000, 11_500, 0.011, DriftStatus.DRIFTED, 0.1723, features, DriftStatus.DRIFTED, 0.4, output
    )


def full() -> ModelReport:
    worse = SliceValue("sector", "oil", metric("auc", 0.6), metric("auc", 0.75), around(0.15), 1e-4, worse=True)
    alike = SliceValue("sector", "gas", metric("auc", 0.74), metric("auc", 0.73), around(-0.01), 0.7)
    shifts = (FeatureShift("range_21", 0.4, 0.2, 1, 2), FeatureShift("volume", 0.2, 0.45, 2, 1))
    certain = Certainty(40_000, 40_000, 0.61, 0.42, (), metric("calibration_error", 0.03))
    unsure = Certainty(12_000, 900, 0.74, 0.58, (), metric("calibration_error", 0.11))
    return ModelReport(
        model_id="trading_model_v1",
        version="7",
        analysis_type=AnalysisType.FULL,
        window=Window(START, START + 30 * DAY),
        created_at=START + 30 * DAY + 60,
        diagnosis=Diagnosis(
            Verdict.CONCEPT_DRIFT,
            Remedy.RETRAIN,
            ("auc was .81 and is .71", "the drift does not explain the loss"),
            (Cause("range_21", 0.62, 0.5, 0.4, 0.031, "drifted by 0.50, 40% of the importance"),),
            (Remedy.RE_TUNE, Remedy.ENSEMBLE),
            Sureness.HIGH,
        ),
        findings=(
            Finding(AlertKind.DATA_DRIFT, Severity.WARNING, "2 features have drifted"),
            Finding(AlertKind.PERFORMANCE, Severity.CRITICAL, "auc fell by 0.1"),
        ),
        quality=DataQuality(
            12_000, 900, {Problem.MISSING: 1440, Problem.EXTRA: 0}, {"range_21": {Problem.MISSING: 1440}, "idle": {}}
        ),
        reference=ReferenceSummary(40_000, 39_000),
        drift=drift(),
        separability=SeparabilityReport(Separability.SEPARABLE, 2000, 2000, around(0.81), {"range_21": 0.2}),
        performance=Performance(
            12_000,
            900,
            (metric("auc", 0.71), metric("log_loss", 0.6), metric("recall", None)),
            (),
            (worse, alike),
            (change("auc", 0.81, 0.71), change("log_loss", 0.8, 0.6, maximize=False, bounded=False)),
        ),
        estimated=EstimatedPerformance(
            12_000,
            (
                EstimatedMetric("auc", True, True, around(0.8), False, Coverage(10, 6, 0.05, 1e-6), "missed 6 of 10"),
                EstimatedMetric("brier", False, True, around(0.2), True, Coverage(10, 1, 0.05, 0.4)),
                EstimatedMetric("recall", True, True, around(0.5)),
            ),
            False,
            "auc: missed 6 of 10",
        ),
        concept_drift=ConceptDrift(
            DriftState.DETECTED,
            loss="brier score",
            arl_rows=90_000.0,
            threshold=90_000.0,
            e_value=4.2e12,
            alarmed_at=START + 16.2 * DAY,
            changed_at=START + 11 * DAY,
            reference_loss=0.18,
            excess=around(0.05),
            direction=Direction.WORSE,
            adwin=AdwinVerdict(True, START + 19 * DAY, Direction.WORSE),
        ),
        attribution=AttributionShift(shifts, 0.84, 0.9, True, ("volume", "range_21")),
        confidence=Confidence(0.8, unsure, certain, (UncertainSlice("sector", "oil", 800, 0.81, 0.5, 2e-9),)),
        latency=Latency(11_990, 8, 2, 1.234, 4.5, 9.87, 51.2),
        business=Business((change("profit", 1.2, 0.9, bounded=False),)),
        notes=("attributions are of 2,000 rows",),
    )


def shown(what, show=show_report, width: int = 120) -> str:
    out = StringIO()
    show(Console(file=out, width=width), what)
    return out.getvalue()


def cells(text: str, start: str) -> str:
    """The row of a table that starts so, its cells two spaces apart."""
    return next(" ".join(line.split()) for line in text.splitlines() if line.startswith(start))


def test_the_verdict_and_the_remedy_come_first_with_their_reasons():
    lines = [line.rstrip() for line in shown(full()).splitlines()]
    assert lines[:6] == [
        "CONCEPT DRIFT (confidence: high)",
        "Remedy: retrain; if that does not help: re-tune, ensemble",
        " - auc was .81 and is .71",
        " - the drift does not explain the loss",
        "Likely causes, the likeliest first:",
        " - range_21 (62%): drifted by 0.50, 40% of the importance",
    ]
    assert lines[7:10] == [
        "model trading_model_v1, version 7, full analysis, made 2008-01-31T00:01Z",
        "window    2008-01-01T00:00Z to 2008-01-31T00:00Z: 12,000 rows, 900 labelled",
        "reference rows without a time: 40,000 rows, 39,000 labelled",
    ]


def test_metrics_are_shown_beside_the_reference_and_marked_where_degraded():
    text = shown(full())
    assert cells(text, "auc ") == "auc 0.81 0.71 (0.69 to 0.73) 0.1 worse DEGRADED"
    assert cells(text, "log_loss") == "log_loss 0.8 0.6 (0.58 to 0.62) 25.0% better"
    assert cells(text, "recall") == "recall – all labelled rows are of one class"
    assert cells(text, "profit") == "profit 1.2 0.9 (0.88 to 0.92) 25.0% worse DEGRADED"
    assert "intervals hold 95%" in text


def test_an_estimate_says_whether_it_can_be_trusted_and_why_not():
    text = shown(full())
    assert "NOT TO BE TRUSTED" in text
    assert "no: missed 6 of 10" in text
    assert "yes, held in 9 of 10 past windows" in text
    assert "yes, not checked yet" in text
    assert "it cannot see concept drift" in text


def test_concept_drift_says_when_and_with_how_much_evidence():
    text = shown(full())
    assert "alarmed at 2008-01-17T04:48Z, the loss has grown since about 2008-01-12T00:00Z" in text
    assert "e-value 4.2e+12, an alarm needs 90,000" in text
    assert "brier score: +0.05 (0.03 to 0.07) a row, worse, 0.18 in the reference" in text
    assert "ADWIN: worse at 2008-01-20T00:00Z" in text


def test_ten_features_are_shown_by_weight_and_effect_and_the_hidden_drifted_ones_are_named():
    text = shown(full())
    rows = text.partition("Data drift")[2].partition("and 15 more")[0].splitlines()
    assert [row.split()[0] for row in rows[4:8]] == ["range_21", "volume", "weighty", "quiet_0"]
    assert cells(text, "range_21 ") == "range_21 30% DRIFTED (missing) 0.500 3e-11 0.31 0.1→12% 1.25 → 1.75"
    assert cells(text, "volume ") == "volume 10% suspected 0.200 4e-05 0.31 0.1→12% 1.25 → 1.75"
    assert "and 15 more, of which drifted or suspected: idle" in text
    assert cells(text, "probability") == "probability DRIFTED 0.400 3e-11 0.31 0.1→12% 1.25 → 1.75"


def test_a_categorical_column_shows_the_category_that_moved_most():
    only = DriftReport(9, 9, None, 0.01, DriftStatus.UNKNOWN, 0.0, (sector(),), DriftStatus.UNKNOWN, 0.0, ())
    text = shown(ModelReport(drift=only))
    assert cells(text, "sector") == "sector 0% unknown 0.000 – – 0→0% bank: 40% → 10%"
    assert "Prediction drift" not in text


def test_the_other_parts_are_shown():
    text = shown(full())
    assert "reference and current rows are separable, AUC 0.81 (0.79 to 0.83)" in text
    assert "Importance: CHANGED, nDCG 0.840 (changed below 0.9)" in text
    assert "20.0% → 45.0%  2 → 1" in text
    assert cells(text, "now ") == "now 12,000 58.0% 0.74 0.11 (0.09 to 0.13)"
    assert "p50 1.234 ms, p95 4.5 ms, p99 9.87 ms, max 51.2 ms; 11,990 rows, 8 unknown, 2 unusable" in text
    assert "Slices: 1 of 2 worse than the rest" in text
    assert "sector = gas" not in text
    assert "missing  1,440  0.12 a row" in text
    assert "extra column" not in text
    assert "attributions are of 2,000 rows" in text
    assert text.index("CRITICAL  performance") < text.index("WARNING   data drift")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_screen_and_no_number_is_broken(width):
    text = shown(full(), width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    for number in ("0.1→12%", "3e-11", "DEGRADED", "12,000"):
        assert number in text
    assert cells(text, "volume ").startswith("volume 10% suspected 0.200 4e-05 0.31 0.1→12%")


def test_a_report_of_nothing_says_nothing():
    assert shown(ModelReport()) == ""


def test_an_error_is_shown_first():
    text = shown(ModelReport(model_id="m", error="no rows between two instants"))
    assert text.splitlines() == ["ERROR: no rows between two instants", "model m"]


def test_a_regression_has_no_confidence_and_a_stable_one_needs_nothing():
    changes = (change("rmse", 12.0, 12.1, maximize=False, bounded=False), change("mae", 0.0, 0.0))
    diagnosis = Diagnosis(Verdict.STABLE, Remedy.NOTHING, ("no metric has fallen",))
    report = ModelReport(
        diagnosis=diagnosis, performance=Performance(500, 400, tuple(one.current for one in changes), (), (), changes)
    )
    text = shown(report)
    assert text.startswith("STABLE (confidence: medium)\nRemedy: nothing needs to be done\n")
    assert cells(text, "rmse") == "rmse 12 12.1 (12.08 to 12.12) 0.8% worse"
    assert cells(text, "mae") == "mae 0 0 (-0.02 to 0.02) none"
    assert "Confidence:" not in text


def test_a_multiclass_model_shows_an_output_for_each_class():
    outputs = tuple(column(f"probability_{name}", DriftStatus.STABLE, 0.01, 0.0) for name in ("a", "b", "c"))
    found = DriftReport(9, 9, 9, 0.01, DriftStatus.STABLE, 0.0, (), DriftStatus.STABLE, 0.0, outputs)
    text = shown(ModelReport(drift=found, confidence=Confidence(0.8, Certainty(9, 0, 0.5, 0.25))))
    assert [name in text for name in ("probability_a", "probability_b", "probability_c")] == [True] * 3
    assert cells(text, "now ") == "now 9 25.0% 0.5 –"


def test_what_could_not_be_found_out_says_why():
    report = ModelReport(
        concept_drift=ConceptDrift(DriftState.INSUFFICIENT, "12 labelled rows, 50 are needed"),
        attribution=AttributionShift((), None, 0.9, reason="the window has no contribution to rank"),
        estimated=EstimatedPerformance(12, reason="12 rows, at least 30 are needed"),
        separability=SeparabilityReport(Separability.INCONCLUSIVE, 9, 9, reason="too few rows"),
        latency=Latency(0, 12),
        quality=DataQuality(12, 0),
    )
    text = shown(report)
    for said in (
        "Concept drift: insufficient\n12 labelled rows, 50 are needed",
        "Importance: not known\nthe window has no contribution to rank",
        "12 rows, at least 30 are needed",
        "rows are inconclusive\ntoo few rows",
        "Latency: not known; 0 rows, 12 unknown",
        "Data quality: 12 rows; no problems",
    ):
        assert said in text


def test_names_are_neither_markup_nor_orders_to_the_terminal():
    evil = "[red]x[/nowhere]\x1b[2J\r\n"
    finding = Finding(AlertKind.PIPELINE, Severity.INFO, evil)
    one = column(evil, DriftStatus.STABLE, 0.1, 1.0)
    report = ModelReport(
        model_id=evil,
        findings=(finding,),
        notes=(evil,),
        error=evil,
        drift=DriftReport(9, 9, 9, 0.01, DriftStatus.STABLE, 0.0, (one,), DriftStatus.STABLE, 0.0, ()),
    )
    text = shown(report)
    assert text.count("[red]x[/nowhere]\N{REPLACEMENT CHARACTER}[2J") == 5
    assert "\x1b" not in text


def test_alerts_are_shown_with_their_state_and_times():
    alerts = [
        Alert("a", "churn", AlertKind.PERFORMANCE, Severity.CRITICAL, "auc fell by 0.1", {}, START, START + DAY),
        Alert("b", "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, START, START, resolved_at=START + 2 * DAY),
    ]
    text = shown(alerts, show_alerts)
    assert cells(text, "CRITICAL") == (
        "CRITICAL open churn performance: auc fell by 0.1 2008-01-01T00:00Z 2008-01-02T00:00Z"
    )
    assert "resolved 2008-01-03T00:00Z" in text
    assert shown([], show_alerts) == "No alerts.\n"
