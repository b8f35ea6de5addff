"""Quality charts: what is drawn of a model's windows, and what happened to it."""

from dataclasses import replace

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.model import ModelVersion
from optagent.domain.monitoring import Window
from optagent.domain.quality_point import QualityPoint
from optagent.domain.rollout import begin, promote, rollback
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from serve_app.dashboard.quality_charts import Mark, drift_map, marks_of, metric_over_time
from serve_app.dashboard.sparkline import sparkline

DAY = 86_400.0


def a_point(day: int, **changes: object) -> QualityPoint:
    return replace(QualityPoint(Window(day * DAY, (day + 1) * DAY), 0.0, "1", 20, 10, "auc"), **changes)


def measured(day: int, value: float) -> QualityPoint:
    return a_point(day, realised=Interval(value, value - 0.1, value + 0.1, 0.05))


def test_a_metric_is_drawn_with_its_interval_and_its_marks() -> None:
    marks = [Mark(1.5 * DAY, "promotion", "2 for 1"), Mark(-DAY, "training", "version 1")]
    chart = metric_over_time([measured(0, 0.8), a_point(1), measured(2, 0.6)], marks)
    assert chart is not None
    low, high, line, promotion = chart["data"]
    assert (low["y"], high["y"], line["y"]) == ([0.7000000000000001, 0.5], [0.9, 0.7], [0.8, 0.6])
    assert (promotion["name"], promotion["y"], promotion["text"]) == ("promotion", [0.5], ["2 for 1"])


def test_without_a_metric_nothing_is_drawn() -> None:
    assert metric_over_time([], []) is None
    assert metric_over_time([a_point(0)], [Mark(0.0, "alert", "")]) is None
    assert drift_map([a_point(0)]) is None


def test_an_estimate_is_drawn_where_no_labels_came() -> None:
    chart = metric_over_time([a_point(0, estimated=Interval(0.7, 0.6, 0.8, 0.05))], [])
    assert chart is not None
    assert [trace["name"] for trace in chart["data"]] == ["estimated without labels"]


def test_the_columns_that_drifted_most_are_on_top_of_the_map() -> None:
    effects = {f"f{number}": number / 100 for number in range(20)}
    chart = drift_map([a_point(0, effects=effects), a_point(1), a_point(2, effects={"f0": 0.9})])
    assert chart is not None
    (heat,) = chart["data"]
    assert (len(heat["y"]), heat["y"][-1], heat["y"][-2]) == (15, "f0", "f19")
    assert heat["z"][-1] == [0.0, 0.9]


def test_what_happened_is_told_in_the_order_of_time() -> None:
    rollout = promote(begin("r", "churn", "1", "2", RolloutPolicy(), 3.0, "ana"), "ana", "sure", 4.0)
    rollout = rollback(rollout, "ana", "oh no", 5.0)
    alert = Alert("a", "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, 2.0, 9.0)
    marks = marks_of([alert], [ModelVersion("churn", "2", "", 1.0)], [rollout])
    assert [(mark.at, mark.kind, mark.text) for mark in marks] == [
        (1.0, "training", "version 2"),
        (2.0, "alert", "latency: slow"),
        (4.0, "promotion", "2 for 1: sure"),
        (5.0, "rollback", "2 for 1: oh no"),
    ]


def test_a_sparkline_needs_two_points_and_escapes_what_it_tells() -> None:
    assert not sparkline([measured(0, 0.8)])
    drawn = sparkline([replace(measured(day, 0.8), metric="<b>") for day in range(2)])
    assert "<b>" not in drawn
    assert "&lt;b&gt; in 2 windows: first 0.8, last 0.8" in drawn


def test_a_sparkline_of_estimates_is_dashed_and_says_so() -> None:
    drawn = sparkline([a_point(day, estimated=Interval(0.5, 0.5, 0.5, 0.05)) for day in range(2)])
    assert 'class="spark dashed"' in drawn
    assert "as estimated without labels" in drawn
