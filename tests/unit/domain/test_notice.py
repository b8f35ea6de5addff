"""Notices: their content, the data that they never quote, and their grouping into messages."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.gate import Verdict
from optagent.domain.notice import (
    TEXT_LIMIT,
    TITLE_LIMIT,
    Notice,
    NoticeKind,
    due_messages,
    message_of,
    notice_of_alert,
    notice_of_failure,
    notice_of_proof,
    notice_of_test,
    notice_of_transition,
    notice_of_verdict,
    sanitize_text,
)
from optagent.domain.process import Process, Status
from optagent.domain.rollout import Rollout, abort, advance, begin, promote, rollback
from optagent.domain.rollout_look import GuardrailReading, JudgedLook, Look, RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

NOON = 1_700_000_000.0
SECRET = "hunter2"


def a_notice(key: str = "k", model_id: str = "churn", **changes: Any) -> Notice:
    defaults = {"kind": NoticeKind.ALERT, "title": f"t {key}", "text": f"x {key}", "severity": Severity.WARNING}
    return Notice(**{"model_id": model_id, "at": NOON, "key": key, **defaults, **changes})


def an_alert(**changes: Any) -> Alert:
    alert = Alert("a1", "churn", AlertKind.DATA_DRIFT, Severity.WARNING, "2 have drifted", {"x": SECRET}, NOON, NOON)
    return replace(alert, **changes)


def a_rollout() -> Rollout:
    return begin("r1", "churn", "3", "4", RolloutPolicy(), NOON, "alice")


def a_process(status: Status = Status.FAILED, **changes: Any) -> Process:
    return replace(Process("p1", "tune", "churn", status, NOON, NOON + 60), **changes)


def latest_notice(rollout: Rollout) -> Notice:
    return notice_of_transition(rollout, rollout.transitions[-1])


def test_an_alert_is_told_by_its_message_and_not_its_evidence():
    notice = notice_of_alert(an_alert(notified_at=NOON + 5))
    assert (notice.kind, notice.severity, notice.at) == (NoticeKind.ALERT, Severity.WARNING, NOON + 5)
    assert notice.title == "churn: data drift (warning)"
    assert notice.text == "2 have drifted\nSeen since 2023-11-14 22:13:20 UTC."


def test_an_alert_that_is_told_again_is_another_notice_and_one_that_is_seen_again_is_not():
    first = notice_of_alert(an_alert(notified_at=NOON))
    assert notice_of_alert(an_alert(notified_at=NOON, last_seen=NOON + 60)).key == first.key
    assert notice_of_alert(an_alert(notified_at=NOON + 3600)).key != first.key


def test_each_state_of_a_rollout_is_told():
    started = a_rollout()
    assert latest_notice(started).kind is NoticeKind.VERDICT
    baking = promote(started, "bob", SECRET, NOON + 1)
    champion = promote(baking, "bob", SECRET, NOON + 2)
    assert [latest_notice(one).kind for one in (baking, champion)] == [NoticeKind.PROMOTION] * 2
    assert latest_notice(abort(started, "bob", SECRET, NOON + 1)).kind is NoticeKind.ABORT
    back = latest_notice(rollback(champion, "bob", SECRET, NOON + 3))
    assert (back.kind, back.severity) == (NoticeKind.ROLLBACK, Severity.WARNING)
    assert back.title == "churn: rolled back, version 3 answers again"
    for state in RolloutState:
        moved = replace(started.transitions[0], state=state)
        assert latest_notice(replace(started, transitions=(*started.transitions, moved))).title


def test_what_a_person_wrote_is_not_told_but_who_it_was():
    notice = latest_notice(abort(a_rollout(), "bob", f"the password is {SECRET}", NOON + 1))
    assert SECRET not in notice.text
    assert "By bob, 2023-11-14 22:13:21 UTC, rollout r1." in notice.text


def test_harm_is_told_with_its_evidence_and_is_critical():
    policy = RolloutPolicy()
    [(name, limit), *_] = policy.guardrails.items()
    harm = GuardrailReading(name, limit, 500, 0.5, 1e9)
    look = Look("l1", NOON + 9, RolloutState.SHADOW, rows=500, improvement=Interval(0.1, -0.2, 0.4, 0.001))
    notice = latest_notice(advance(a_rollout(), replace(look, guardrails=(harm,)), NOON + 9))
    assert (notice.kind, notice.severity) == (NoticeKind.ROLLBACK, Severity.CRITICAL)
    assert notice.title == "churn: version 4 is taken back for harm"
    assert notice.text.startswith(f"{name}: rate 0.5 above")
    assert "500 rows, improvement 0.1 (-0.2 to 0.4)." in notice.text


def test_each_transition_has_a_key_of_its_own():
    rollout = rollback(promote(a_rollout(), "bob", "", NOON + 1), "bob", "", NOON + 2)
    assert len({notice_of_transition(rollout, change).key for change in rollout.transitions}) == 3


def test_a_candidate_that_waits_to_be_promoted_is_told_of_once():
    waiting = a_rollout()
    assert notice_of_proof(waiting) is None
    look = Look("l1", NOON + 9, RolloutState.SHADOW, rows=500, improvement=Interval(0.1, 0.05, 0.4, 0.001))
    waiting = replace(waiting, looks=(JudgedLook(look, Verdict.INCONCLUSIVE, "not yet"),))
    assert notice_of_proof(waiting) is None
    waiting = replace(waiting, looks=(*waiting.looks, JudgedLook(look, Verdict.PASS, "improvement at least 0.05")))
    notice = notice_of_proof(waiting)
    assert notice is not None
    assert notice.title == "churn: version 4 has proved itself in shadow"
    assert "500 rows, improvement 0.1 (0.05 to 0.4)." in notice.text
    again = replace(waiting, looks=(*waiting.looks, JudgedLook(replace(look, at=NOON + 99), Verdict.PASS, "still")))
    assert notice_of_proof(again) == notice
    assert notice_of_proof(promote(waiting, "bob", "", NOON + 10)) is None


def test_a_transition_of_another_rollout_is_refused():
    other = promote(a_rollout(), "bob", "", NOON + 1).transitions[-1]
    with pytest.raises(InvalidRequest, match="has no transition to baking"):
        notice_of_transition(a_rollout(), other)


@pytest.mark.parametrize("status", [Status.FAILED, Status.INTERRUPTED], ids=str)
def test_a_failure_is_told_without_the_words_of_its_error(status):
    error = f"ValueError: could not convert string to float: '{SECRET}'"
    notice = notice_of_failure(a_process(status, error=error, stage="fit", command={"x": SECRET}))
    assert notice.title == f"churn: tune {status}"
    assert notice.text.startswith(f"Process p1 {status} in fit, ValueError, 2023-11-14 22:14:20 UTC.")
    assert SECRET not in f"{notice}"


@pytest.mark.parametrize("error", [None, "", f"{SECRET}: no", f"Sheet: {SECRET}", f"Error{SECRET}: x"])
def test_what_is_not_the_name_of_an_exception_is_not_told(error):
    assert SECRET not in str(notice_of_failure(a_process(error=error)))


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.FAILED, Status.INTERRUPTED}), ids=str)
def test_a_process_that_did_not_fail_is_no_failure(status):
    with pytest.raises(InvalidRequest, match="not one of"):
        notice_of_failure(a_process(status))


def test_a_verdict_is_told_with_the_version_and_the_improvement():
    result = {
        "verdict": "pass",
        "version": "5",
        "aliases": ("challenger",),
        "baseline_name": "champion",
        "improvement": {"estimate": 0.0123, "low": 0.004, "high": 0.02, "alpha": 0.05},
        "notes": (SECRET,),
    }
    notice = notice_of_verdict(a_process(Status.SUCCEEDED, result=result))
    assert notice is not None
    assert notice.title == "churn: tune, verdict pass"
    assert notice.text.startswith("Version 5 is challenger.\nImprovement over champion 0.0123 (0.004 to 0.02).\n")
    assert SECRET not in f"{notice}"


@pytest.mark.parametrize(
    "process",
    [
        a_process(Status.SUCCEEDED),
        a_process(Status.SUCCEEDED, result={}),
        a_process(Status.SUCCEEDED, result={"verdict": None}),
        a_process(Status.SUCCEEDED, result={"verdict": "stable"}),
        a_process(Status.RUNNING, result={"verdict": "pass"}),
    ],
    ids=range(5),
)
def test_what_judged_nothing_has_no_verdict(process):
    assert notice_of_verdict(process) is None


def test_a_verdict_without_numbers_is_told_without_them():
    for improvement in (None, {}, {"estimate": None, "low": 0, "high": 1}, "none"):
        notice = notice_of_verdict(a_process(Status.SUCCEEDED, result={"verdict": "error", "improvement": improvement}))
        assert notice is not None
        assert notice.severity is Severity.WARNING
        assert "mprovement" not in notice.text


def test_a_test_is_a_notice_of_its_own():
    assert notice_of_test(NOON).kind is NoticeKind.TEST
    assert notice_of_test(NOON).key != notice_of_test(NOON + 1).key


@pytest.mark.parametrize("at", [math.nan, math.inf, -1.0, 1e300])
def test_a_time_that_is_none_is_refused(at):
    with pytest.raises(InvalidRequest, match="at must be a POSIX time"):
        a_notice(at=at)


def test_a_notice_without_a_key_is_refused():
    with pytest.raises(InvalidRequest, match="needs a key"):
        a_notice(key="")


def test_long_texts_are_cut():
    notice = a_notice(title="t" * 999, text="x" * 9999)
    assert (len(notice.title), len(notice.text)) == (TITLE_LIMIT, TEXT_LIMIT)
    assert notice.text.endswith("x…")


def test_feature_names_stay_as_they_are():
    assert sanitize_text("range_21, *p*, é, a@b.c, 50%, a & b", 100) == "range_21, *p*, é, a@b.c, 50%, a & b"


@given(st.text())
def test_no_text_keeps_what_a_channel_could_obey(text):
    notice = a_notice(title=text, text=text)
    for part in (notice.title, notice.text):
        assert not set("<>`\r\x00\u202e\u200b") & set(part)
        assert "](" not in part
        assert "://" not in part
        assert not part.startswith("@everyone")
    assert "\n" not in notice.title


def test_the_worst_comes_first_of_groups_and_in_them():
    notices = [
        a_notice("a", "calm", severity=Severity.INFO),
        a_notice("b", "hot", severity=Severity.INFO),
        a_notice("c", "hot", severity=Severity.CRITICAL),
        a_notice("d", "hot", severity=Severity.CRITICAL, at=NOON - 1),
    ]
    groups, sent = due_messages(notices, {}, NOON, 60)
    assert [[notice.key for notice in group] for group in groups] == [["d", "c", "b"], ["a"]]
    assert sent == dict.fromkeys("abcd", NOON)


def test_a_key_is_told_again_only_after_the_cool_down():
    groups, sent = due_messages([a_notice("a"), a_notice("a"), a_notice("b")], {"b": NOON - 59, "old": 0.0}, NOON, 60)
    assert [[notice.key for notice in group] for group in groups] == [["a"]]
    assert sent == {"a": NOON, "b": NOON - 59}
    groups, sent = due_messages([a_notice("a"), a_notice("b")], sent, NOON + 1, 60)
    assert [[notice.key for notice in group] for group in groups] == [["b"]]
    assert due_messages([], sent, NOON + 1, 60) == ((), sent)


def test_without_a_cool_down_all_is_told_each_time():
    assert len(due_messages([a_notice("a")], {"a": NOON}, NOON, 0)[0]) == 1


@pytest.mark.parametrize("cooldown_s", [-1.0, math.nan])
def test_a_cool_down_that_is_none_is_refused(cooldown_s):
    with pytest.raises(InvalidRequest, match="cooldown_s must not be negative"):
        due_messages([], {}, NOON, cooldown_s)


def test_a_message_of_one_notice_is_that_notice():
    notice = a_notice()
    message = message_of([notice])
    assert (message.title, message.text, message.severity) == (notice.title, notice.text, notice.severity)


def test_a_message_of_many_notices_counts_those_without_room():
    notices = [a_notice(f"{number:03}", text="x" * 300, at=NOON + number) for number in range(40)]
    message = message_of([*notices, a_notice("worst", severity=Severity.CRITICAL)])
    assert (message.title, message.severity) == ("t worst, and 40 more", Severity.CRITICAL)
    assert message.text.startswith("t worst\nx worst\n\nt 000\n")
    assert len(message.text) <= TEXT_LIMIT
    count = message.text.count("\nx")
    assert message.text.endswith(f"and {41 - count} more")


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30))
def test_no_message_is_longer_than_it_may_be(lengths):
    message = message_of([a_notice(str(place), text="x" * length) for place, length in enumerate(lengths)])
    assert len(message.text) <= TEXT_LIMIT
    assert len(message.title) <= TITLE_LIMIT


def test_a_message_of_nothing_is_refused():
    with pytest.raises(InvalidRequest, match="needs a notice"):
        message_of([])
