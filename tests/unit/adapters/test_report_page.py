"""The page of a model's analysis: it needs no network, runs nothing from the data, and shows what is known."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from optagent.adapters.report_page import draw_report, report_page
from optagent.domain.alert import AlertKind, Finding, Severity
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
    CalibrationPoint,
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
    PerformancePoint,
    SliceValue,
    UncertainSlice,
)
from optagent.domain.quality import DataQuality, Problem
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

START = 1_199_145_600.0  # 2008-01-01
DAY = 86_400.0
WINDOW = Window(START, START + 30 * DAY)
EVIL = "<script>alert('x')</script>"
STATES = (DriftStatus.DRIFTED, DriftStatus.SUSPECTED, DriftStatus.STABLE, DriftStatus.UNKNOWN)


def around(estimate: float, half: float = 0.02) -> Interval:
    return Interval(estimate, estimate - half, estimate + half, 0.05)


def metric(name: str, value: float | None, maximize: bool = True, bounded: bool = True) -> MetricValue:
    interval = None if value is None else around(value)
    return MetricValue(
        name, maximize, bounded, 900, interval, "" if interval else "all 900 labelled rows are of one class"
    )


def change(name: str, then: float, now: float, maximize: bool = True, bounded: bool = True) -> Degradation:
    fall = (then - now) * (1 if maximize else -1) / (1 if bounded else then)
    before, after = metric(name, then, maximize, bounded), metric(name, now, maximize, bounded)
    return Degradation(before, after, 0.05, around(fall, 0.015), degraded=fall >= 0.05)


def points(*courses: tuple[str, float, float]) -> tuple[PerformancePoint, ...]:
    """Metrics that go from one value to another; the fifth part has no labels."""
    return tuple(
        PerformancePoint(
            part,
            400,
            tuple(
                metric(name, None if index == 4 else first + (last - first) * max(0, index - 10) / 19)
                for name, first, last in courses
            ),
        )
        for index, part in enumerate(WINDOW.parts(30))
    )


def drift(names: tuple[str, ...]) -> DriftReport:
    def column(index: int, name: str) -> ColumnDrift:
        status, effect = STATES[index % 4], max(0.01, 0.5 - 0.03 * index)
        return ColumnDrift(
            name,
            "numeric",
            status,
            effect,
            weight=1 / len(names),
            then=Summary(40_000, 0.001, mean=0.0123 * index),
            now=Summary(12_000, 0.12, mean=0.0234 * index),
            tests=(DriftTest(DriftCheck.VALUES, status, effect, 1e-9, 4e-8, 1e-12, 3e-11),),
            psi=0.31,
            wasserstein=0.8,
        )

    categories = {f"sector {EVIL}": 0.4, "energy": 0.6}
    moved = {f"sector {EVIL}": 0.1, "energy": 0.9}
    traded = ColumnDrift(
        "sector",
        "categorical",
        DriftStatus.DRIFTED,
        0.3,
        0.05,
        Summary(40_000, 0.0, shares=categories),
        Summary(12_000, 0.0, shares=moved),
        tests=(DriftTest(DriftCheck.UNSEEN, DriftStatus.DRIFTED, 0.3, 0.0, 0.0),),
        psi=0.4,
        cramers_v=0.3,
    )
    features = (*(column(index, name) for index, name in enumerate(names)), traded)
    output = replace(column(0, "probability"), weight=0.0)
    return DriftReport(
        40_000, 12_000, 11_500, 0.011, DriftStatus.DRIFTED, 0.23, features, DriftStatus.DRIFTED, 0.5, (output,)
    )


def confidence() -> Confidence:
    def curve(bend: float) -> tuple[CalibrationPoint, ...]:
        return tuple(CalibrationPoint(p / 10, min(1.0, (p / 10) ** bend), 90) for p in range(1, 10))

    then = Certainty(40_000, 40_000, 0.61, 0.42, curve(1.05), metric("calibration_error", 0.02))
    now = Certainty(12_000, 900, 0.74, 0.58, curve(0.6), metric("calibration_error", 0.11))
    return Confidence(0.8, now, then, (UncertainSlice("sector", "energy", 800, 0.81, 0.5, 2e-9),))


def full() -> ModelReport:
    names = ("range_21", "return_lag_1", EVIL, *(f"feature_with_a_rather_long_name_{index}" for index in range(35)))
    shares = [0.4, 0.2, 0.1, *([0.3 / 35] * 35)]
    now = [0.2, 0.25, 0.25, *([0.3 / 35] * 35)]
    ranked = sorted(range(len(names)), key=lambda index: -now[index])
    shifts = tuple(
        FeatureShift(names[index], shares[index], now[index], index + 1, rank + 1) for rank, index in enumerate(ranked)
    )
    slices = (
        SliceValue("sector", "energy", metric("auc", 0.6), metric("auc", 0.75), around(0.15), 1e-4, worse=True),
        SliceValue("sector", EVIL, metric("auc", 0.74), metric("auc", 0.73), around(-0.01), 0.7),
    )
    return ModelReport(
        model_id="trading_model_v1",
        version="7",
        analysis_type=AnalysisType.FULL,
        window=WINDOW,
        created_at=WINDOW.end + 60,
        diagnosis=Diagnosis(
            Verdict.CONCEPT_DRIFT,
            Remedy.RETRAIN,
            ("auc was .81 and is .71", "the drift does not explain the loss"),
            (Cause("range_21", 0.62, 0.5, 0.4, 0.031, f"{EVIL} drifted by 0.50, 40% of the importance"),),
            (Remedy.RE_TUNE, Remedy.ENSEMBLE),
            Sureness.HIGH,
        ),
        findings=(
            Finding(AlertKind.DATA_DRIFT, Severity.WARNING, "10 features have drifted"),
            Finding(AlertKind.PERFORMANCE, Severity.CRITICAL, f"auc fell by 0.1 {EVIL}"),
        ),
        quality=DataQuality(
            12_000,
            900,
            {Problem.MISSING: 1440, Problem.UNSEEN: 12, Problem.EXTRA: 0},
            {"range_21": {Problem.MISSING: 1440}, EVIL: {Problem.UNSEEN: 12}},
        ),
        reference=ReferenceSummary(40_000, 40_000, Window(START - 900 * DAY, START - 400 * DAY), "abc"),
        drift=drift(names),
        separability=SeparabilityReport(Separability.SEPARABLE, 2000, 2000, around(0.81), {"range_21": 0.2}),
        performance=Performance(
            12_000,
            900,
            (metric("auc", 0.71), metric("log_loss", 0.62, maximize=False, bounded=False), metric("recall", None)),
            points(("auc", 0.81, 0.66), ("log_loss", 0.5, 0.7)),
            slices,
            (change("auc", 0.81, 0.71), change("log_loss", 0.5, 0.62, maximize=False, bounded=False)),
        ),
        estimated=EstimatedPerformance(
            12_000,
            (
                EstimatedMetric("auc", True, True, around(0.8), False, Coverage(10, 6, 0.05, 1e-6), "missed 6 of 10"),
                EstimatedMetric("brier", False, True, around(0.2), True, Coverage(0, 0, 0.0)),
            ),
            False,
            "auc: missed 6 of 10",
        ),
        concept_drift=ConceptDrift(
            DriftState.DETECTED,
            "",
            "brier score",
            900,
            40_000,
            50,
            90_000.0,
            90_000.0,
            4.2e7,
            START + 16.2 * DAY,
            START + 11.1 * DAY,
            0.18,
            around(0.05),
            Direction.WORSE,
            AdwinVerdict(True, START + 19 * DAY, Direction.WORSE),
        ),
        attribution=AttributionShift(shifts, 0.84, 0.9, True, ("range_21", EVIL)),
        confidence=confidence(),
        latency=Latency(11_990, 8, 2, 1.234, 4.5, 9.87, 51.2),
        business=Business((change("profit", 1.2, 0.9, bounded=False),), points(("profit", 1.2, 0.7))),
        notes=("attributions are of 2,000 rows",),
    )


def regression() -> ModelReport:
    changes = (change("rmse", 12.0, 12.1, maximize=False, bounded=False), change("r2", 0.8, 0.81))
    return ModelReport(
        model_id="delays",
        analysis_type=AnalysisType.PERFORMANCE,
        diagnosis=Diagnosis(Verdict.STABLE, Remedy.NOTHING, ("no metric has fallen",)),
        performance=Performance(500, 400, tuple(one.current for one in changes), (), (), changes),
    )


class Page(HTMLParser):
    """The texts of a page outside its scripts, its tags, and every address that it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.unclosed: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        self.text = "\n".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link", "br", "img"):
            self.unclosed.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "data", "action")]

    def handle_endtag(self, tag):
        assert self.unclosed.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.unclosed) and data.strip():
            self.texts.append(data.strip())


@pytest.fixture(scope="module")
def page() -> str:
    return report_page(full())


def test_the_page_holds_what_the_report_knows(page):
    text = Page(page).text
    for said in (
        "Verdict: concept drift (confidence: high)",
        "Remedy: retrain; if that does not help: re-tune, ensemble.",
        "the drift does not explain the loss",
        "2008-01-01T00:00Z to 2008-01-31T00:00Z",
        "12,000, 900 with a label",
        "0.71 (0.69 to 0.73)",
        "yes (threshold 0.05)",
        "Of 12,000 rows, not to be trusted: auc: missed 6 of 10.",
        "2008-01-17T04:48Z",
        "worse at 2008-01-20T00:00Z",
        "0.1→12%",
        "Changed: nDCG 0.840, changed below 0.9.",
        "9.87",
        "profit",
        "missing 1,440",
        "auc fell by 0.1",
        "attributions are of 2,000 rows",
    ):
        assert said in text


def test_the_page_fetches_nothing_and_forbids_it(page):
    assert Page(page).fetched == []
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page.partition("</style>")[0])


def test_the_script_of_the_plots_is_embedded_once_and_the_page_is_small_enough(page):
    assert page.count("* plotly.js v") == 1
    assert page.count('class="plotly-graph-div"') == 5
    assert len(page.encode()) < 6_000_000


def test_names_from_the_data_are_never_markup(page):
    assert EVIL not in page
    assert "alert('x')" in Page(page).text
    assert "<script>alert" not in page.lower()


def test_plots_show_names_instead_of_reading_them_as_tags(page):
    ticks = re.search(r'"ticktext":\[[^]]*script[^]]*\]', page)
    assert ticks is not None
    assert "\\u003c" not in ticks[0]
    assert "&lt;script&gt;" in ticks[0]


def test_every_tag_is_closed_and_headings_are_in_order(page):
    assert Page(page).unclosed == []
    tags = Page(page).tags
    assert tags.count("h1") == 1
    assert tags.count("h2") >= 12
    assert tags.count("figure") == tags.count("figcaption") == 5


def test_a_report_of_nothing_has_no_plot_and_no_script():
    page = report_page(ModelReport())
    assert "script>" not in page
    assert Page(page).tags.count("section") == 0


def test_an_error_is_shown():
    text = Page(report_page(ModelReport(model_id="m", error=f"no rows {EVIL}"))).text
    assert f"Error: no rows {EVIL}" in text


def test_a_regression_shows_changes_as_shares_of_the_value_before():
    text = Page(report_page(regression())).text
    assert "0.8% (-0.7% to 2.3%)" in text
    assert "Verdict: stable" in text
    assert "nothing needs to be done" in text
    assert "Calibration" not in text


def test_a_multiclass_model_has_a_row_for_each_output():
    known = full().drift
    outputs = tuple(replace(known.predictions[0], name=f"probability of {name}") for name in ("a", "b", "<c>"))
    text = Page(report_page(ModelReport(drift=replace(known, features=(), predictions=outputs)))).text
    assert [f"probability of {name}" in text for name in ("a", "b", "<c>")] == [True] * 3
    assert "Drift by feature" not in text


def test_the_marks_of_an_alarm_stand_at_its_time(page):
    (alarm,) = re.findall(r'\{[^{]*"name":"alarm of concept drift"[^}]*\}?', page)
    assert '"2008-01-17T04:48:00"' in page
    assert alarm


def test_a_course_without_any_value_is_not_drawn():
    known = full()
    unknown = tuple(
        replace(one, metrics=tuple(replace(value, interval=None) for value in one.metrics))
        for one in known.performance.over_time
    )
    page = report_page(ModelReport(performance=replace(known.performance, over_time=unknown)))
    assert "<figure>" not in page


def test_times_beyond_the_calendar_are_shown_as_numbers():
    far = Window(1e15, 1e15 + 10)
    point = PerformancePoint(far, 10, (metric("auc", 0.7),))
    page = report_page(ModelReport(window=far, performance=Performance(10, 10, (), (point,))))
    assert "1e+15 s" in Page(page).text


def test_text_that_no_encoding_can_hold_is_written(tmp_path):
    found = Finding(AlertKind.PIPELINE, Severity.INFO, "half a pair \ud800 and a null \x00")
    path = draw_report(replace(full(), findings=(found,), model_id="m\udfff"), tmp_path / "report.html")
    assert "half a pair ?" in path.read_text(encoding="utf-8")


def test_the_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert draw_report(regression(), path) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_drawn_leaves_the_older_page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = replace(full(), window="yesterday")
    with pytest.raises(AttributeError):
        draw_report(broken, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidRequest, match="there is no folder"):
        draw_report(ModelReport(), tmp_path / "absent" / "report.html")
    with pytest.raises(InvalidRequest, match="is a folder"):
        draw_report(ModelReport(), tmp_path)
    with pytest.raises(InvalidRequest, match="cannot be written"):
        draw_report(ModelReport(), Path(tmp_path) / ("long" * 100 + ".html"))
