"""A trouble climbs the ladder past what failed to end it, waits at its end, and does not count another trouble's."""

from typing import Any

import pytest

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.diagnosis import Remedy
from optagent.domain.policy import OptimizationType
from optagent.domain.process import Process, Status
from optagent.domain.remedy_ladder import (
    LADDER,
    Attempt,
    Trouble,
    attempts_of,
    failures_of,
    next_remedies,
    remedies_of,
    remedies_within,
    trouble_of,
)

DAY = 86_400.0
NOW = 100 * DAY
SEEN = Trouble(90 * DAY, alerted=True)


def an_alert(
    start: float, end: float | None = None, kind: AlertKind = AlertKind.PERFORMANCE, model_id: str = "churn"
) -> Alert:
    resolved = None if end is None else end * DAY
    times = {"first_seen": start * DAY, "last_seen": NOW if resolved is None else resolved, "resolved_at": resolved}
    return Alert(f"{kind}:{start}", model_id, kind, Severity.WARNING, "worse", {}, **times)


def a_process(day: float = 95.0, kind: str = "optimize", **result: Any) -> Process:
    fields = {"status": "rejected", "verdict": "fail", "optimization_type": "retrain", "version": "2", **result}
    return Process(
        f"{kind}-{day}",
        kind,
        "churn",
        Status.SUCCEEDED,
        day * DAY - 60.0,
        day * DAY,
        result=fields,
        kept={"rows": {"until": day * DAY, "rows": 1000}, "gate": {"evidence": {"champion_version": "1"}}},
    )


def an_attempt(day: float = 95.0, *remedies: Remedy, **more: Any) -> Attempt:
    return Attempt(**{"at": day * DAY, "remedies": remedies, "version": "2", "passed": False, "champion": "1", **more})


def failures(
    *attempts: Attempt, trouble: Trouble = SEEN, champion: str = "1", answered: float | None = 99 * DAY
) -> tuple[Attempt, ...]:
    return failures_of(attempts, trouble, champion, {"turned back"}, answered)


@pytest.mark.parametrize(
    ("kind", "remedies"),
    [
        (OptimizationType.RETRAIN, (Remedy.RETRAIN,)),
        (OptimizationType.TUNE, (Remedy.RETRAIN, Remedy.RE_TUNE)),
        (OptimizationType.ENSEMBLE, (Remedy.RETRAIN, Remedy.RE_TUNE, Remedy.ENSEMBLE)),
        (OptimizationType.FULL, LADDER),
        (OptimizationType.AUTO, ()),
    ],
)
def test_an_optimization_goes_through_the_remedies_whose_stages_it_has(
    kind: OptimizationType, remedies: tuple[Remedy, ...]
):
    assert remedies_within(kind) == remedies


def test_auto_goes_through_the_remedy_of_its_diagnosis_and_recalibrates_by_retraining():
    assert remedies_within(OptimizationType.AUTO, Remedy.RE_TUNE) == (Remedy.RETRAIN, Remedy.RE_TUNE)
    assert remedies_within(OptimizationType.AUTO, Remedy.RECALIBRATE) == (Remedy.RECALIBRATE, Remedy.RETRAIN)
    assert remedies_within(OptimizationType.AUTO, Remedy.WAIT) == ()
    assert remedies_within(OptimizationType.RETRAIN, Remedy.RECALIBRATE) == (Remedy.RETRAIN,)


def test_an_attempt_says_what_it_tried_on_which_rows_and_beside_whom():
    process = a_process(optimization_type="auto", diagnosis={"remedy": "re-tune"}, verdict="inconclusive")
    (attempt,) = attempts_of([process])
    assert attempt == Attempt(95 * DAY, (Remedy.RETRAIN, Remedy.RE_TUNE), "2", False, "1", None, called_for=True)
    assert [one.at for one in attempts_of([a_process(97.0), a_process(96.0)])] == [96 * DAY, 97 * DAY]
    assert not attempts_of([a_process(diagnosis={"remedy": "nothing"})])[0].called_for


@pytest.mark.parametrize(
    "process",
    [
        a_process(kind="tune"),
        a_process(status="unchanged", verdict=None),
        a_process(status="failed", verdict=None),
        a_process(verdict="error"),
        Process("optimize-x", "optimize", "churn", Status.RUNNING, NOW, NOW),
        Process("optimize-x", "optimize", "churn", Status.FAILED, NOW, NOW, error="the store is away"),
    ],
    ids=["another kind", "unchanged", "failed", "not judged", "running", "no result"],
)
def test_what_came_to_no_verdict_of_its_own_has_tried_nothing(process: Process):
    assert attempts_of([process]) == ()


def test_a_trouble_began_with_the_first_of_the_alerts_that_follow_each_other_up_to_now():
    alerts = [an_alert(98), an_alert(95, 97, AlertKind.CONCEPT_DRIFT), an_alert(90, 94), an_alert(50, 60)]
    assert trouble_of(alerts, NOW, 2 * DAY, 0.0) == Trouble(90 * DAY, alerted=True)
    assert trouble_of(alerts, NOW, 0.5 * DAY, 0.0) == Trouble(98 * DAY, alerted=True)
    assert trouble_of([an_alert(90, 99)], NOW, 2 * DAY, 0.0) == Trouble(90 * DAY, alerted=True)
    assert trouble_of([an_alert(100)], NOW, 2 * DAY, 0.0) == Trouble(NOW, alerted=True)


def test_a_trouble_without_an_alert_is_no_older_than_the_champion_and_the_last_alert():
    assert trouble_of([], NOW, 2 * DAY, 70 * DAY) == Trouble(70 * DAY, alerted=False)
    assert trouble_of([an_alert(50, 60)], NOW, 2 * DAY, 70 * DAY) == Trouble(70 * DAY, alerted=False)
    assert trouble_of([an_alert(75, 80)], NOW, 2 * DAY, 70 * DAY) == Trouble(80 * DAY, alerted=False)
    assert trouble_of([an_alert(10, kind=AlertKind.DATA_DRIFT)], NOW, 2 * DAY, 0.0) == Trouble(0.0, alerted=False)


def test_a_candidate_that_missed_a_gate_since_the_trouble_was_seen_has_failed():
    assert failures(an_attempt(95)) == (an_attempt(95),)
    assert failures(an_attempt(90)) == (an_attempt(90),)
    assert failures(an_attempt(89)) == ()


def test_a_candidate_that_passed_has_failed_only_where_a_rollout_turned_it_back():
    assert failures(an_attempt(passed=True)) == ()
    assert failures(an_attempt(passed=True, rollout_id="goes on")) == ()
    (attempt,) = failures(an_attempt(passed=True, rollout_id="turned back"))
    assert attempt.passed


def test_a_new_champion_has_failed_once_most_labelled_rows_are_its_own_and_the_trouble_is_still_there():
    promoted = an_attempt(95, passed=True)
    assert failures(promoted, champion="2") == (promoted,)
    assert failures(promoted, champion="2", answered=94 * DAY) == ()
    assert failures(promoted, champion="2", answered=None) == ()
    assert failures(promoted, champion="3") == ()
    later = an_attempt(97, version="3", champion="2", passed=True)
    assert failures(promoted, later, champion="3") == (promoted, later)


def test_without_an_alert_only_what_a_diagnosis_called_for_has_failed():
    trouble = Trouble(90 * DAY, alerted=False)
    diagnosed = an_attempt(called_for=True)
    assert failures(an_attempt(), diagnosed, trouble=trouble) == (diagnosed,)
    first = an_attempt(90, version="2", passed=True, called_for=True)
    assert failures(first, trouble=trouble, champion="2") == ()


def test_the_ladder_is_climbed_past_what_failed():
    assert next_remedies(()) == LADDER
    assert next_remedies([Remedy.RECALIBRATE, Remedy.RETRAIN])[0] is Remedy.RE_TUNE
    assert next_remedies([Remedy.RE_TUNE])[0] is Remedy.RETRAIN
    assert next_remedies(LADDER) == (Remedy.WAIT,)


def climb(*attempts: Attempt, rows: dict[float, int] | None = None) -> tuple[Remedy, ...]:
    counted = rows or {}
    return remedies_of(attempts, NOW, lambda at: counted[at / DAY])


def test_what_failed_is_told_in_the_order_of_the_ladder_and_no_rows_are_counted_before_its_end():
    assert climb() == ()
    assert climb(an_attempt(95, Remedy.RE_TUNE), an_attempt(96, Remedy.RETRAIN)) == (Remedy.RETRAIN, Remedy.RE_TUNE)


def test_at_its_end_all_remedies_stay_tried_until_the_rows_have_grown_by_half():
    spent = (an_attempt(95, Remedy.RETRAIN), an_attempt(96, *LADDER))
    assert climb(*spent, rows={96: 1000, 100: 1499}) == LADDER
    assert climb(*spent, rows={96: 1000, 100: 1500}) == ()
    again = an_attempt(99, Remedy.RETRAIN)
    assert climb(*spent, again, rows={96: 1000, 99: 1500, 100: 1600}) == (Remedy.RETRAIN,)
    assert climb(*spent, again, rows={96: 1000, 99: 1400, 100: 1450}) == LADDER
    twice = (*spent, an_attempt(98, *LADDER))
    assert climb(*twice, rows={96: 1000, 98: 1500, 100: 2200}) == LADDER
    assert climb(*twice, rows={96: 1000, 98: 1500, 100: 2250}) == ()


def test_a_handful_of_rows_is_no_growth():
    assert climb(an_attempt(96, *LADDER), rows={96: 0, 100: 74}) == LADDER
    assert climb(an_attempt(96, *LADDER), rows={96: 0, 100: 75}) == ()
