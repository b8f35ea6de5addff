"""Fleet: the health of models by their alerts and windows, their order, and the words that find them."""

from dataclasses import replace

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.fleet import (
    Answerer,
    FleetOrder,
    ModelHealth,
    ModelStanding,
    judge_health,
    matches,
    sort_standings,
)
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.quality_point import QualityPoint
from optagent.domain.study import Interval

DAY = 86_400.0
NOW = 100 * DAY
TODAY = QualityPoint(Window(99 * DAY, 100 * DAY), NOW, realised=Interval(0.8, 0.7, 0.9, 0.05))


def an_alert(severity: Severity, kind: AlertKind = AlertKind.PERFORMANCE, at: float = NOW) -> Alert:
    return Alert(f"{kind}-{severity}", "churn", kind, severity, "auc fell", {}, at, at)


def a_standing(
    model_id: str = "churn", health: ModelHealth = ModelHealth.GOOD, drift: float | None = None
) -> ModelStanding:
    latest = None if drift is None else replace(TODAY, drift=drift)
    return ModelStanding(model_id, Task.BINARY, "auc", health, "", Answerer.CHAMPION, latest=latest)


def health_of(
    *alerts: Alert, latest: QualityPoint | None = TODAY, answerer: Answerer = Answerer.CHAMPION
) -> ModelHealth:
    return judge_health(alerts, answerer, latest, NOW, DAY)[0]


def test_the_worst_open_alert_is_the_health() -> None:
    assert health_of(an_alert(Severity.WARNING), an_alert(Severity.CRITICAL)) is ModelHealth.CRITICAL
    assert health_of(an_alert(Severity.WARNING)) is ModelHealth.WARNING


def test_an_alert_that_only_informs_leaves_a_model_good() -> None:
    assert health_of(an_alert(Severity.INFO)) is ModelHealth.GOOD


def test_the_reason_names_the_worst_alert_and_counts_the_others() -> None:
    alerts = [an_alert(Severity.WARNING, AlertKind.LATENCY), an_alert(Severity.CRITICAL)]
    assert judge_health(alerts, Answerer.CHAMPION, TODAY, NOW, DAY)[1] == "performance: auc fell, and 1 more"


def test_a_model_that_nobody_looked_at_lately_is_not_said_to_be_good() -> None:
    old = replace(TODAY, window=Window(90 * DAY, 91 * DAY))
    assert health_of(latest=old) is ModelHealth.UNKNOWN
    assert health_of(latest=None) is ModelHealth.UNKNOWN
    assert judge_health([], Answerer.NOTHING, None, NOW, DAY) == (ModelHealth.UNKNOWN, "nothing answers")


def test_a_good_model_without_labels_is_told_so() -> None:
    assert judge_health([], Answerer.CHAMPION, replace(TODAY, realised=None), NOW, DAY) == (
        ModelHealth.GOOD,
        "no alert is open; the labels of its newest window have not come",
    )


def test_the_worst_models_come_first_and_equals_by_id() -> None:
    fleet = [
        a_standing("b"),
        a_standing("a"),
        a_standing("c", ModelHealth.CRITICAL),
        a_standing("d", ModelHealth.UNKNOWN),
    ]
    assert [each.model_id for each in sort_standings(fleet, FleetOrder.HEALTH)] == ["c", "d", "a", "b"]


def test_a_model_without_a_drift_score_comes_after_one_without_drift() -> None:
    fleet = [a_standing("a"), a_standing("b", drift=0.0), a_standing("c", drift=0.4)]
    assert [each.model_id for each in sort_standings(fleet, FleetOrder.DRIFT)] == ["c", "b", "a"]


def test_each_word_of_a_query_narrows_it_down() -> None:
    standing = a_standing("churn-eu", ModelHealth.WARNING)
    assert matches(standing, "")
    assert matches(standing, "CHURN warning champion binary")
    assert not matches(standing, "churn critical")
