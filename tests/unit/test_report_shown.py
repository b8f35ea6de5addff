"""The command line prints a model's analysis and its alerts."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from optagent.domain.alert import Alert, AlertKind, Finding, Severity
from optagent.domain.concept_drift import ConceptDrift, DriftState
from optagent.domain.drift import Separability, SeparabilityReport
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import AttributionShift, Certainty, EstimatedPerformance, Latency, ModelConfidence
from optagent.domain.quality import DataQuality
from optagent.terminal_report import show_alerts, show_report

START = 1_199_145_600.0  # 2008-01-01
DAY = 86_400.0


def render(what, show=show_report, width: int = 120) -> str:
    out = StringIO()
    show(Console(file=out, width=width), what)
    return out.getvalue()


def cells(text: str, start: str) -> str:
    """The row of a table that starts so, its cells two spaces apart."""
    return next(" ".join(line.split()) for line in text.splitlines() if line.startswith(start))


def test_the_verdict_and_the_remedy_come_first_with_their_reasons(full_report):
    lines = [line.rstrip() for line in render(full_report).splitlines()]
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


def test_metrics_are_shown_beside_the_reference_and_marked_where_degraded(full_report):
    text = render(full_report)
    assert cells(text, "auc ") == "auc 0.81 0.71 (0.69 to 0.73) 0.1 worse DEGRADED"
    assert cells(text, "log_loss") == "log_loss 0.8 0.6 (0.58 to 0.62) 25.0% better"
    assert cells(text, "recall") == "recall – all labelled rows are of one class"
    assert cells(text, "profit") == "profit 1.2 0.9 (0.88 to 0.92) 25.0% worse DEGRADED"
    assert "intervals hold 95%" in text


def test_an_estimate_says_whether_it_can_be_trusted_and_why_not(full_report):
    text = render(full_report)
    assert "NOT TO BE TRUSTED" in text
    assert "no: missed 6 of 10" in text
    assert "yes, held in 9 of 10 past windows" in text
    assert "yes, not checked yet" not in text
    assert "not checked yet" in text
    assert "it cannot see concept drift" in text


def test_concept_drift_says_when_and_with_how_much_evidence(full_report):
    text = render(full_report)
    assert "alarmed at 2008-01-17T04:48Z, the loss has grown since about 2008-01-12T00:00Z" in text
    assert "e-value 4.2e+12, an alarm needs 90,000" in text
    assert "brier score: +0.05 (0.03 to 0.07) a row, worse, 0.18 in the reference" in text
    assert "ADWIN: worse at 2008-01-20T00:00Z" in text


def test_ten_features_are_shown_by_weight_and_effect_and_the_hidden_drifted_ones_are_named(full_report):
    text = render(full_report)
    rows = text.partition("Data drift")[2].partition("and 15 more")[0].splitlines()
    assert [row.split()[0] for row in rows[4:8]] == ["range_21", "volume", "weighty", "quiet_0"]
    assert cells(text, "range_21 ") == "range_21 30% DRIFTED (missing) 0.500 3e-11 0.31 0.1→12% 1.25 → 1.75"
    assert cells(text, "volume ") == "volume 10% suspected 0.200 4e-05 0.31 0.1→12% 1.25 → 1.75"
    assert "and 15 more, of which drifted or suspected: idle" in text
    assert cells(text, "probability") == "probability DRIFTED 0.400 3e-11 0.31 0.1→12% 1.25 → 1.75"


def test_a_categorical_column_shows_the_category_that_moved_most(full_report):
    sector = full_report.drift.features[-1]
    text = render(ModelReport(drift=replace(full_report.drift, features=(sector,), predictions=())))
    assert cells(text, "sector") == "sector 0% unknown 0.000 – – 0→0% bank: 40% → 10%"
    assert "Prediction drift" not in text


def test_the_other_parts_are_shown(full_report):
    text = render(full_report)
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
def test_no_line_is_wider_than_the_screen_and_no_number_is_broken(width, full_report):
    text = render(full_report, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    for number in ("0.1→12%", "3e-11", "DEGRADED", "12,000"):
        assert number in text
    assert cells(text, "volume ").startswith("volume 10% suspected 0.200 4e-05 0.31 0.1→12%")


def test_a_report_of_nothing_says_nothing():
    assert render(ModelReport()) == ""


def test_an_error_is_shown_first():
    text = render(ModelReport(model_id="m", error="no rows between two instants"))
    assert text.splitlines() == ["ERROR: no rows between two instants", "model m"]


def test_a_regression_has_no_confidence_and_a_stable_one_needs_nothing(regression_report):
    text = render(regression_report)
    assert text.startswith("STABLE (confidence: medium)\nRemedy: nothing needs to be done\n")
    assert cells(text, "rmse") == "rmse 12 12.1 (12.08 to 12.12) 0.8% worse"
    assert cells(text, "mae") == "mae 0 0 (-0.02 to 0.02) none"
    assert "Confidence:" not in text


def test_a_multiclass_model_shows_an_output_for_each_class(full_report):
    (output,) = full_report.drift.predictions
    outputs = tuple(replace(output, name=f"probability_{name}") for name in ("a", "b", "c"))
    found = replace(full_report.drift, features=(), predictions=outputs)
    text = render(ModelReport(drift=found, confidence=ModelConfidence(0.8, Certainty(9, 0, 0.5, 0.25))))
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
    text = render(report)
    for said in (
        "Concept drift: insufficient\n12 labelled rows, 50 are needed",
        "Importance: not known\nthe window has no contribution to rank",
        "12 rows, at least 30 are needed",
        "rows are inconclusive\ntoo few rows",
        "Latency: not known; 0 rows, 12 unknown",
        "Data quality: 12 rows; no problems",
    ):
        assert said in text


def test_names_are_neither_markup_nor_orders_to_the_terminal(full_report):
    evil = "[red]x[/nowhere]\x1b[2J\r\n"
    finding = Finding(AlertKind.PIPELINE, Severity.INFO, evil)
    one = replace(full_report.drift.features[0], name=evil)
    report = ModelReport(
        model_id=evil,
        findings=(finding,),
        notes=(evil,),
        error=evil,
        drift=replace(full_report.drift, features=(one,), predictions=()),
    )
    text = render(report)
    assert text.count("[red]x[/nowhere]\N{REPLACEMENT CHARACTER}[2J") == 5
    assert "\x1b" not in text


def test_alerts_are_shown_with_their_state_and_times():
    alerts = [
        Alert("a", "churn", AlertKind.PERFORMANCE, Severity.CRITICAL, "auc fell by 0.1", {}, START, START + DAY),
        Alert("b", "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, START, START, resolved_at=START + 2 * DAY),
    ]
    text = render(alerts, show_alerts)
    assert cells(text, "CRITICAL") == (
        "CRITICAL open churn performance: auc fell by 0.1 2008-01-01T00:00Z 2008-01-02T00:00Z"
    )
    assert "resolved 2008-01-03T00:00Z" in text
    assert render([], show_alerts) == "No alerts.\n"


@pytest.mark.parametrize("trusted", [None, True])  # a version before called an unchecked estimate trusted
def test_an_unchecked_estimate_is_not_to_be_trusted_yet(full_report, trusted):
    (*_, unchecked) = full_report.estimated.metrics
    estimated = EstimatedPerformance(12_000, (replace(unchecked, trusted=trusted),), trusted)
    assert "NOT TO BE TRUSTED YET" in render(replace(full_report, estimated=estimated))
