"""The page of a model's analysis: it needs no network, runs nothing from the data, and shows what is known."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from optagent.adapters.pages.report import report_page
from optagent.agent.page_file import write_page
from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue, Performance, PerformancePoint
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest


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
def page(full_report) -> str:
    return report_page(full_report)


def test_the_page_holds_what_the_report_knows(page):
    text = Page(page).text
    for said in (
        "Verdict: concept drift (confidence: high)",
        "Remedy: retrain; if that does not help: re-tune, ensemble.",
        "the drift does not explain the loss",
        "2008-01-01T00:00Z to 2008-01-31T00:00Z",
        "12,000 rows, 900 labelled",
        "0.71 (0.69 to 0.73)",
        "yes (threshold 0.05)",
        "Of 12,000 rows, not to be trusted: auc: missed 6 of 10.",
        "2008-01-17T04:48Z",
        "worse at 2008-01-20T00:00Z",
        "0.1→12%",
        "Changed, nDCG 0.840 (changed below 0.9).",
        "9.87",
        "profit",
        "missing 1,428",
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


def test_names_from_the_data_are_never_markup(page, evil_name):
    assert evil_name not in page
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


def test_an_error_is_shown(evil_name):
    text = Page(report_page(ModelReport(model_id="m", error=f"no rows {evil_name}"))).text
    assert f"Error: no rows {evil_name}" in text


def test_a_regression_shows_changes_as_shares_of_the_value_before(regression_report):
    text = Page(report_page(regression_report)).text
    assert "0.8% (-0.7% to 2.3%)" in text
    assert "Verdict: stable" in text
    assert "nothing needs to be done" in text
    assert "Calibration" not in text


def test_a_multiclass_model_has_a_row_for_each_output(full_report):
    known = full_report.drift
    outputs = tuple(replace(known.predictions[0], name=f"probability of {name}") for name in ("a", "b", "<c>"))
    text = Page(report_page(ModelReport(drift=replace(known, features=(), predictions=outputs)))).text
    assert [f"probability of {name}" in text for name in ("a", "b", "<c>")] == [True] * 3
    assert "Drift by feature" not in text


def test_the_marks_of_an_alarm_stand_at_its_time(page):
    (alarm,) = re.findall(r'\{[^{]*"name":"alarm of concept drift"[^}]*\}?', page)
    assert '"2008-01-17T04:48:00"' in page
    assert alarm


def test_a_course_without_any_value_is_not_drawn(full_report):
    known = full_report
    unknown = tuple(
        replace(one, metrics=tuple(replace(value, interval=None) for value in one.metrics))
        for one in known.performance.over_time
    )
    page = report_page(ModelReport(performance=replace(known.performance, over_time=unknown)))
    assert "<figure>" not in page


def test_times_beyond_the_calendar_are_shown_as_numbers():
    far = Window(1e15, 1e15 + 10)
    point = PerformancePoint(far, 10, (MetricValue("auc", True, True, 10, Interval(0.7, 0.6, 0.8, 0.05)),))
    page = report_page(ModelReport(window=far, performance=Performance(10, 10, (), (point,))))
    assert "1e+15 s" in Page(page).text


def test_text_that_no_encoding_can_hold_is_written(tmp_path, full_report):
    found = Finding(AlertKind.PIPELINE, Severity.INFO, "half a pair \ud800 and a null \x00")
    page = report_page(replace(full_report, findings=(found,), model_id="m\udfff"))
    path = write_page(page, tmp_path / "report.html")
    assert "half a pair ?" in path.read_text(encoding="utf-8")


def test_the_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path, regression_report):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_page(report_page(regression_report), path) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_older_page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_page("half a pair \ud800", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidRequest, match="there is no folder"):
        write_page("page", tmp_path / "absent" / "report.html")
    with pytest.raises(InvalidRequest, match="is a folder"):
        write_page("page", tmp_path)
    with pytest.raises(InvalidRequest, match="cannot be written"):
        write_page("page", Path(tmp_path) / ("long" * 100 + ".html"))
