import dataclasses

import pytest

from optagent import codec
from optagent.domain.alert import Alert, AlertKind, Finding, Severity, update_alerts
from optagent.errors import InvalidRequest

DROP = Finding(AlertKind.PERFORMANCE, Severity.WARNING, "auc fell", {"drop": 0.06})
HOUR = 3600.0


def after(*analyses: tuple[float, list[Finding]], alerts: tuple[Alert, ...] = ()) -> tuple[list[Alert], list[float]]:
    """The alerts after analyses at hours, and the hours of notifications."""
    by_id = {alert.alert_id: alert for alert in alerts}
    notified_at = []
    for hour, findings in analyses:
        stored, to_notify = update_alerts("m", list(by_id.values()), findings, hour * HOUR, HOUR)
        by_id |= {alert.alert_id: alert for alert in stored}
        notified_at += [hour] * len(to_notify)
    return list(by_id.values()), notified_at


def test_a_finding_opens_an_alert_and_someone_is_told() -> None:
    [alert], hours = after((1, [DROP]))
    assert (alert.kind, alert.message, alert.first_seen, alert.notified_at) == (DROP.kind, "auc fell", HOUR, HOUR)
    assert hours == [1]


def test_a_finding_again_only_moves_last_seen() -> None:
    [alert], hours = after((1, [DROP]), (1.5, [DROP]))
    assert (alert.first_seen, alert.last_seen, alert.notified_at) == (HOUR, 1.5 * HOUR, HOUR)
    assert hours == [1]


def test_a_lasting_alert_is_told_again_once_a_cool_down() -> None:
    _, hours = after(*((1 + step / 4, [DROP]) for step in range(9)))
    assert hours == [1, 2, 3]


def test_what_is_found_no_more_is_resolved() -> None:
    [alert], _ = after((1, [DROP]), (2, []), (3, []))
    assert (alert.resolved_at, alert.last_seen) == (2 * HOUR, HOUR)


def test_a_resolved_alert_that_returns_within_the_cool_down_opens_again_untold() -> None:
    [alert], hours = after((1, [DROP]), (1.25, []), (1.5, [DROP]))
    assert alert.is_open
    assert hours == [1]


def test_a_resolved_alert_that_returns_later_is_a_new_one() -> None:
    alerts, hours = after((1, [DROP]), (2, []), (3.5, [DROP]))
    assert [alert.is_open for alert in alerts] == [False, True]
    assert hours == [1, 3.5]


def test_kinds_are_alerts_of_their_own() -> None:
    slow = Finding(AlertKind.LATENCY, Severity.INFO, "slow")
    alerts, hours = after((1, [DROP, slow]), (2, [slow]))
    assert {alert.kind: alert.is_open for alert in alerts} == {AlertKind.PERFORMANCE: False, AlertKind.LATENCY: True}
    assert hours == [1, 1, 2]


def test_findings_of_one_kind_are_one_alert_as_bad_as_the_worst() -> None:
    worse = dataclasses.replace(DROP, severity=Severity.CRITICAL, message="f1 fell", evidence={"drop": 0.2, "n": 9})
    [alert], _ = after((1, [DROP, worse]))
    assert (alert.severity, alert.message) == (Severity.CRITICAL, "f1 fell; auc fell")
    assert alert.evidence == {"drop": 0.2, "n": 9}


def test_an_alert_has_the_severity_and_evidence_of_the_last_time() -> None:
    better = dataclasses.replace(DROP, severity=Severity.INFO, evidence={"drop": 0.051})
    [alert], _ = after((1, [DROP]), (1.5, [better]))
    assert (alert.severity, alert.evidence) == (Severity.INFO, {"drop": 0.051})


def test_alerts_of_another_model_are_left_alone() -> None:
    others = dataclasses.replace(after((1, [DROP]))[0][0], model_id="other")
    assert update_alerts("m", [others], [], 2 * HOUR, HOUR) == ((), ())


def test_of_two_open_alerts_of_a_kind_the_older_stays() -> None:
    [first], _ = after((1, [DROP]))
    second = dataclasses.replace(first, alert_id="second", first_seen=2 * HOUR)
    alerts, _ = after((3, [DROP]), alerts=(second, first))
    assert {alert.alert_id: alert.is_open for alert in alerts} == {first.alert_id: True, "second": False}


def test_a_clock_that_goes_back_does_not_move_last_seen_back() -> None:
    [alert], _ = after((2, [DROP]), (1, [DROP]))
    assert alert.last_seen == 2 * HOUR


def test_an_alert_survives_json() -> None:
    [alert], _ = after((1, [DROP]), (2, []))
    assert codec.decode(Alert, codec.encode(alert)) == alert


def test_a_negative_cool_down_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cooldown_s"):
        update_alerts("m", [], [], 0.0, -1.0)
