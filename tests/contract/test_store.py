import asyncio
from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.alert import Alert, AlertKind, Finding, Severity
from optagent.domain.audit import AuditEntry
from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.label_maturity import LabelCohort, LabelHistory
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import AnalysisType, WatchMark, Window
from optagent.domain.process import Process, Status
from optagent.domain.quality import DataQuality, RowProblem
from optagent.domain.rollout import Rollout, abort, advance, begin, promote, rollback
from optagent.domain.rollout_look import GuardrailReading, Look, RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from optagent.errors import Conflict, InvalidRequest, LeaseLost, ModelNotFound, NotFound, ProcessNotFound


def a_model(model_id: str = "churn", **changes: Any) -> ModelSpec:
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target", **changes)


def a_process(process_id: str = "p1", model_id: str = "churn", created_at: float = 100.0) -> Process:
    return Process(process_id, "tune", model_id, Status.PENDING, created_at, created_at, command={"trials": 5})


def a_report(rows: int) -> ModelReport:
    return ModelReport(
        "churn",
        "3",
        AnalysisType.FULL,
        Window(0.25, 86_400.5),
        created_at=1_700_000_000.123,
        findings=(Finding(AlertKind.DATA_DRIFT, Severity.WARNING, "é has drifted", {"features": ["é"]}),),
        quality=DataQuality(rows, 2, {RowProblem.UNSEEN: 1}, {"é": {RowProblem.UNSEEN: 1}}),
        metrics={"auc": 0.75},
    )


def an_alert(alert_id: str, model_id: str = "churn", **changes: Any) -> Alert:
    alert = Alert(alert_id, model_id, AlertKind.LATENCY, Severity.INFO, "slow", {}, first_seen=10.0, last_seen=10.0)
    return replace(alert, **changes)


def a_rollout(rollout_id: str = "r1", model_id: str = "churn", started_at: float = 100.0, **policy: Any) -> Rollout:
    return begin(rollout_id, model_id, "3", "4", RolloutPolicy(**policy), started_at, "sdk")


def a_queued_process(process_id: str = "p1", **changes: Any) -> Process:
    return replace(a_process(process_id), status=Status.QUEUED, **changes)


def outcomes(answers: list[Any]) -> list[type]:
    return sorted((type(answer) for answer in answers), key=lambda kind: kind.__name__)


async def test_a_store_that_works_checks_out(store):
    await store.check()


async def test_a_saved_model_reads_back_equal(store):
    spec = a_model(
        time_column="day",
        label_horizon="24h",
        features=("a", "é"),
        entity="customer",
        search_space={"lightgbm": {"learning_rate": {"low": 0.01, "high": 0.1}}},
    )
    await store.save_model(spec)
    assert await store.model("churn") == spec


async def test_a_model_from_a_database_reads_back_equal(store):
    spec = replace(a_model(), data=SqlSource("postgresql://${USER}@host/db", "select 1"))
    await store.save_model(spec)
    assert await store.model("churn") == spec


async def test_saving_a_model_again_replaces_it(store):
    await store.save_model(a_model())
    await store.save_model(a_model(description="newer"))
    assert (await store.model("churn")).description == "newer"
    assert len(await store.models()) == 1


async def test_an_unknown_model_is_not_found_by_name(store):
    with pytest.raises(ModelNotFound, match="nothing"):
        await store.model("nothing")


async def test_models_come_by_id(store):
    for model_id in ("b", "a", "C"):
        await store.save_model(a_model(model_id))
    assert [spec.model_id for spec in await store.models()] == ["C", "a", "b"]


async def test_a_new_store_has_neither_models_nor_processes(store):
    assert await store.models() == []
    assert await store.processes() == []


async def test_a_created_process_reads_back_equal(store):
    process = a_process()
    await store.create_process(process, lease_s=60)
    assert await store.process("p1") == process


async def test_a_taken_id_is_a_conflict_and_changes_nothing(store):
    await store.create_process(a_process(), lease_s=60)
    with pytest.raises(Conflict, match="p1"):
        await store.create_process(a_process(model_id="other"), lease_s=60)
    with pytest.raises(Conflict, match="p1"):
        await store.create_process(a_process(), lease_s=60)
    assert await store.process("p1") == a_process()
    assert await store.processes("other") == []


async def test_of_many_creators_of_one_id_exactly_one_succeeds(store):
    created = await asyncio.gather(
        *(store.create_process(a_process(model_id=f"m{number}"), lease_s=60) for number in range(20)),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in created) == 1
    assert sum(isinstance(answer, Conflict) for answer in created) == 19


async def test_a_saved_process_reads_back_with_its_history(store):
    process = a_process()
    await store.create_process(process, lease_s=60)
    moved = process.with_event(101.5, "started", Status.RUNNING, stage="optimize").with_progress(
        102.0, {"trials_done": 3}
    )
    await store.save_process(moved)
    assert await store.process("p1") == moved


async def test_saving_a_process_that_was_never_created_is_not_found(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.save_process(a_process())
    assert await store.processes() == []


async def test_an_unknown_process_is_not_found_by_name(store):
    with pytest.raises(ProcessNotFound, match="p9"):
        await store.process("p9")


@pytest.mark.parametrize("end", [status for status in Status if status.has_ended])
async def test_an_ended_process_never_comes_back_to_life(store, end):
    process = a_process()
    await store.create_process(process, lease_s=60)
    ended = process.with_event(101.0, "ended", end, result={"ok": True})
    await store.save_process(ended)
    for status in (Status.PENDING, Status.RUNNING):
        with pytest.raises(Conflict, match="p1"):
            await store.save_process(replace(process, status=status))
    assert await store.process("p1") == ended


async def test_saving_an_end_twice_is_no_conflict(store):
    await store.create_process(a_process(), lease_s=60)
    ended = a_process().with_event(101.0, "ended", Status.SUCCEEDED)
    await store.save_process(ended)
    await store.save_process(ended)
    assert await store.process("p1") == ended


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
async def test_a_process_whose_lease_ran_out_reads_as_interrupted(under_test, status):
    store = under_test.port
    await store.create_process(replace(a_process(), status=status), lease_s=0.05)
    await under_test.pass_time(0.3)
    seen = await store.process("p1")
    assert seen.status is Status.INTERRUPTED
    assert seen.error
    assert seen.history[-1].kind == "interrupted"
    assert await store.process("p1") == seen
    assert await store.processes() == [seen]


async def test_a_renewed_lease_keeps_a_process_running(under_test):
    store = under_test.port
    await store.create_process(a_process(), lease_s=0.05)
    await store.renew_lease(a_process(), 60)
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.PENDING


async def test_a_runner_that_comes_back_late_is_seen_running_again(under_test):
    store = under_test.port
    await store.create_process(a_process(), lease_s=0.05)
    await under_test.pass_time(0.3)
    await store.renew_lease(a_process(), 60)
    assert await store.process("p1") == a_process()


async def test_an_ended_process_needs_no_lease(under_test):
    store = under_test.port
    await store.create_process(a_process(), lease_s=0.05)
    ended = a_process().with_event(101.0, "ended", Status.CANCELLED)
    await store.save_process(ended)
    await store.renew_lease(a_process(), 0.05)
    await under_test.pass_time(0.3)
    assert await store.process("p1") == ended


async def test_the_lease_of_an_unknown_process_cannot_be_renewed(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.renew_lease(a_process(), 60)


@pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf")])
async def test_a_lease_that_is_no_duration_is_refused(store, lease_s):
    with pytest.raises(InvalidRequest, match="lease_s"):
        await store.create_process(a_process(), lease_s)
    assert await store.processes() == []


async def test_processes_come_newest_first_whatever_the_order_of_creation(store):
    for process_id, created_at in (("b", 2.5), ("a", 2.25), ("d", 1_700_000_000.123), ("c", 2.5)):
        await store.create_process(a_process(process_id, created_at=created_at), lease_s=60)
    assert [process.process_id for process in await store.processes()] == ["d", "c", "b", "a"]


async def test_processes_of_one_model_up_to_a_limit(store):
    for number in range(6):
        await store.create_process(a_process(f"p{number}", f"m{number % 2}", float(number)), lease_s=60)
    assert [process.process_id for process in await store.processes("m1")] == ["p5", "p3", "p1"]
    assert [process.process_id for process in await store.processes("m1", limit=2)] == ["p5", "p3"]
    assert [process.process_id for process in await store.processes(limit=1)] == ["p5"]
    assert await store.processes("unknown") == []


async def test_a_limit_below_one_is_refused(store):
    with pytest.raises(InvalidRequest, match="limit"):
        await store.processes(limit=0)


async def test_a_cancel_request_stays_until_the_runner_sees_it(store):
    await store.create_process(a_process(), lease_s=60)
    await store.create_process(a_process("p2"), lease_s=60)
    assert not await store.cancel_requested("p1")
    await store.request_cancel("p1")
    await store.save_process(a_process().with_event(101.0, "started", Status.RUNNING))
    assert await store.cancel_requested("p1")
    assert not await store.cancel_requested("p2")


async def test_an_unknown_process_cannot_be_cancelled(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.request_cancel("p1")
    assert not await store.cancel_requested("p1")


async def test_a_report_reads_back_by_its_key_and_digest(store):
    report = a_report(7)
    await store.save_report("churn:3:0..24:full", "d1", report)
    assert await store.find_report("churn:3:0..24:full", "d1") == report
    assert await store.find_report("churn:3:0..24:full", "d2") is None
    assert await store.find_report("churn:3:24..48:full", "d1") is None


async def test_a_report_of_other_rows_replaces_the_older_one(store):
    await store.save_report("key", "d1", a_report(1))
    await store.save_report("key", "d2", a_report(2))
    assert await store.find_report("key", "d1") is None
    assert await store.find_report("key", "d2") == a_report(2)


async def test_a_key_may_be_any_text(store):
    key = "é drift\n*?[a]" + "x" * 280
    await store.save_report(key, "sha256:é", a_report(1))
    assert await store.find_report(key, "sha256:é") == a_report(1)


async def test_a_model_that_nobody_has_watched_has_an_empty_mark(store):
    assert await store.watch_mark("churn") == WatchMark()


async def test_the_watch_mark_that_was_saved_last_counts_for_its_model(store):
    latest, older = Window(0.1 + 0.2, 86_400.0), Window(-3_600.0, 0.1)
    await store.save_watch_mark("é churn", WatchMark((older,)))
    await store.save_watch_mark("é churn", WatchMark((latest, older), (older,)))
    await store.save_watch_mark("fraud", WatchMark(due=(latest,)))
    assert await store.watch_mark("é churn") == WatchMark((latest, older), (older,))
    assert await store.watch_mark("fraud") == WatchMark((latest,), ())


async def test_the_history_of_labels_that_was_saved_last_counts_for_its_model(store):
    assert await store.label_history("churn") == LabelHistory()
    older = LabelHistory(86_400.0, ("é", "yes"), cohorts=(LabelCohort(0.0, 9, 3, ({0: 2, 270: 5}, {})),))
    latest = LabelHistory(3600.0, ("below 0.1", "from 0.1"), (0.1,), (LabelCohort(0.1, 9, 3, ({}, {1: 1}), 2),))
    await store.save_label_history("é churn", older)
    assert await store.label_history("é churn") == older
    await store.save_label_history("é churn", latest)
    assert await store.label_history("é churn") == latest
    assert await store.label_history("churn") == LabelHistory()


async def test_the_detector_that_was_saved_last_counts_for_its_model(store):
    assert await store.detector("churn") is None
    await store.save_detector("churn", {"until": 0.1 + 0.2})
    await store.save_detector("churn", {"until": 86_400.5, "watch": {"starts": [0, 3], "alarm": None}})
    await store.save_detector("fraud", {})
    assert await store.detector("churn") == {"until": 86_400.5, "watch": {"starts": [0, 3], "alarm": None}}
    assert await store.detector("fraud") == {}


async def test_a_saved_alert_reads_back_equal(store):
    alert = an_alert("é", evidence={"features": ["a", "b"], "score": 0.25, "since": None})
    await store.save_alerts([alert])
    assert await store.alerts() == await store.alerts("churn") == [alert]


async def test_saving_an_alert_again_replaces_it(store):
    alert = an_alert("a")
    await store.save_alerts([alert])
    resolved = replace(alert, resolved_at=20.5)
    await store.save_alerts([resolved])
    assert await store.alerts("churn") == [resolved]
    again = replace(alert, last_seen=30.0)
    await store.save_alerts([again])
    assert await store.alerts("churn") == [again]


async def test_open_alerts_come_first_those_seen_last_at_the_top(store):
    saved = [
        an_alert("seen early", last_seen=11.0),
        an_alert("over for long", resolved_at=12.25),
        an_alert("seen late", model_id="other", last_seen=1000.123),
        an_alert("just over", model_id="other", last_seen=50.0, resolved_at=60.0),
    ]
    await store.save_alerts(saved)
    ordered = ["seen late", "seen early", "just over", "over for long"]
    assert [alert.alert_id for alert in await store.alerts()] == ordered
    assert [alert.alert_id for alert in await store.alerts(limit=3)] == ordered[:3]
    assert [alert.alert_id for alert in await store.alerts("churn")] == ["seen early", "over for long"]
    assert await store.alerts("unknown") == []


async def test_alerts_that_were_over_90_days_ago_are_forgotten_and_open_ones_never(store):
    day = 86_400.0
    old = [an_alert("open"), an_alert("over", resolved_at=day), an_alert("not yet", resolved_at=10 * day)]
    other = an_alert("elsewhere", model_id="other", resolved_at=day)
    await store.save_alerts([*old, other])
    await store.save_alerts([an_alert("new", first_seen=95 * day, last_seen=95 * day)])
    assert [alert.alert_id for alert in await store.alerts("churn")] == ["new", "open", "not yet"]
    assert await store.alerts("other") == [other]


async def test_an_alert_that_opens_again_is_not_forgotten(store):
    day = 86_400.0
    await store.save_alerts([an_alert("a", resolved_at=day)])
    await store.save_alerts([an_alert("a", last_seen=2 * day)])
    await store.save_alerts([an_alert("b", last_seen=200 * day)])
    assert [alert.alert_id for alert in await store.alerts("churn")] == ["b", "a"]


async def test_no_alerts_are_no_work(store):
    await store.save_alerts([])
    assert await store.alerts() == []


async def test_a_limit_of_alerts_below_one_is_refused(store):
    with pytest.raises(InvalidRequest, match="limit"):
        await store.alerts(limit=0)


async def test_a_queued_process_waits_without_a_lease(under_test):
    store, process = under_test.port, a_queued_process()
    await store.enqueue_process(process)
    await under_test.pass_time(0.3)
    assert await store.process("p1") == process
    assert await store.processes("churn") == [process]


async def test_a_queued_process_has_an_id_of_its_own(store):
    await store.create_process(a_process("p1"), lease_s=60)
    await store.enqueue_process(a_queued_process("p2"))
    for taken in ("p1", "p2"):
        with pytest.raises(Conflict, match=taken):
            await store.enqueue_process(a_queued_process(taken))
    with pytest.raises(Conflict, match="p2"):
        await store.create_process(a_process("p2"), lease_s=60)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
async def test_only_a_queued_process_is_enqueued(store, status):
    with pytest.raises(InvalidRequest, match=f"queued.*is {status}"):
        await store.enqueue_process(replace(a_process(), status=status))
    assert await store.processes() == []


async def test_a_claimed_process_is_pending_and_held(under_test):
    store = under_test.port
    await store.enqueue_process(a_queued_process())
    claimed = await store.claim_process("p1", lease_s=60)
    assert claimed.holder
    assert claimed == replace(a_process(), holder=claimed.holder)
    assert await store.process("p1") == claimed
    await store.save_process(claimed.with_event(101.0, "started", Status.RUNNING))
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.RUNNING


async def test_a_claimed_process_whose_lease_ran_out_reads_as_interrupted(under_test):
    store = under_test.port
    await store.enqueue_process(a_queued_process())
    await store.claim_process("p1", lease_s=0.05)
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.INTERRUPTED


async def test_a_durable_process_whose_runner_is_gone_is_taken_over_and_the_old_runner_writes_nothing_more(under_test):
    store = under_test.port
    await store.enqueue_process(replace(a_queued_process(), durable=True))
    first = (await store.claim_process("p1", lease_s=0.05)).with_event(101.0, "started", Status.RUNNING)
    await store.save_process(first.with_stage_output("rows", {"until": 3.0}))
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.QUEUED
    second = await store.claim_process("p1", lease_s=60)
    assert (second.status, second.kept) == (Status.PENDING, {"rows": {"until": 3.0}})
    assert second.holder != first.holder
    with pytest.raises(LeaseLost, match="taken over by another runner"):
        await store.save_process(first.with_event(102.0, "ended", Status.SUCCEEDED))
    await store.save_process(second.with_event(103.0, "started", Status.RUNNING))
    with pytest.raises(Conflict, match="running"):
        await store.claim_process("p1", 60)


async def test_a_lease_is_renewed_by_its_holder_only(under_test):
    store = under_test.port
    await store.enqueue_process(replace(a_queued_process(), durable=True))
    first = (await store.claim_process("p1", lease_s=0.05)).with_event(101.0, "started", Status.RUNNING)
    await store.save_process(first)
    await under_test.pass_time(0.3)
    second = await store.claim_process("p1", lease_s=0.2)
    for loser in (first, replace(first, holder=""), replace(first, holder="nobody's")):
        with pytest.raises(LeaseLost, match="'p1' was taken over by another runner"):
            await store.renew_lease(loser, 60)
    await under_test.pass_time(0.5)
    assert (await store.process("p1")).status is Status.QUEUED
    await store.renew_lease(second, 60)
    assert await store.process("p1") == second


async def test_whoever_lost_a_process_hears_it_also_once_the_process_has_ended(under_test):
    store = under_test.port
    await store.enqueue_process(replace(a_queued_process(), durable=True))
    first = await store.claim_process("p1", lease_s=0.05)
    await under_test.pass_time(0.3)
    await store.save_process((await store.claim_process("p1", 60)).with_event(102.0, "ended", Status.SUCCEEDED))
    with pytest.raises(LeaseLost, match="p1"):
        await store.renew_lease(first, 60)


async def test_a_durable_process_that_ends_its_runners_is_given_up_after_five(under_test):
    store = under_test.port
    await store.enqueue_process(replace(a_queued_process(), durable=True))
    for _ in range(5):
        assert (await store.process("p1")).status is Status.QUEUED
        process = await store.claim_process("p1", lease_s=0.05)
        await store.save_process(process.with_event(101.0, "started", Status.RUNNING))
        await under_test.pass_time(0.3)
    ended = await store.process("p1")
    assert (ended.status, "5 times" in str(ended.error)) == (Status.INTERRUPTED, True)
    with pytest.raises(Conflict):
        await store.claim_process("p1", 60)


async def test_of_many_claimers_of_one_process_exactly_one_gets_it(store):
    await store.enqueue_process(a_queued_process())
    answers = await asyncio.gather(*(store.claim_process("p1", 60) for _ in range(20)), return_exceptions=True)
    assert outcomes(answers) == [Conflict] * 19 + [Process]


async def test_what_is_not_queued_cannot_be_claimed(store):
    await store.create_process(a_process("running"), lease_s=60)
    await store.enqueue_process(a_queued_process("cancelled"))
    await store.save_process(a_queued_process("cancelled").with_event(101.0, "cancelled", Status.CANCELLED))
    for process_id, status in (("running", "pending"), ("cancelled", "cancelled")):
        with pytest.raises(Conflict, match=f"{process_id}.*{status}"):
            await store.claim_process(process_id, 60)
    with pytest.raises(ProcessNotFound, match="nothing"):
        await store.claim_process("nothing", 60)


async def test_a_queued_process_is_claimed_as_it_was_saved_last(store):
    await store.enqueue_process(a_queued_process())
    moved = a_queued_process().with_event(101.0, "moved up")
    await store.save_process(moved)
    claimed = await store.claim_process("p1", 60)
    assert claimed == replace(moved, status=Status.PENDING, holder=claimed.holder)


async def test_a_queued_process_can_be_asked_to_stop_before_it_is_claimed(store):
    await store.enqueue_process(a_queued_process())
    await store.request_cancel("p1")
    assert (await store.process("p1")).status is Status.QUEUED
    await store.claim_process("p1", 60)
    assert await store.cancel_requested("p1")


async def test_a_rollout_reads_back_with_its_looks_and_transitions(store):
    rollout = a_rollout(ramp=(0.05, 0.5), guardrails={"errors": 0.01})
    await store.create_rollout(rollout)
    assert await store.rollout("r1") == rollout
    reading = GuardrailReading("errors", 0.01, 900, 0.0, 0.5)
    improvement = Interval(0.1, -0.25, 0.3, alpha=rollout.policy.shadow_alpha)
    look = Look("l1", 200.5, RolloutState.SHADOW, 0, 900, 900, improvement, (reading,), notes=("é",))
    looked = advance(rollout, look, 200.5)
    await store.save_rollout(looked, before=rollout)
    assert await store.rollout("r1") == looked
    moved = promote(looked, "ana", "looks good", 300.0)
    await store.save_rollout(moved, before=looked)
    assert await store.rollouts() == [moved]


async def test_a_taken_id_of_a_rollout_is_a_conflict_and_changes_nothing(store):
    await store.create_rollout(a_rollout())
    for model_id in ("churn", "other"):
        with pytest.raises(Conflict, match="'r1' exists"):
            await store.create_rollout(a_rollout(model_id=model_id))
    assert await store.rollouts("other") == []
    await store.create_rollout(a_rollout("r2", "other"))


async def test_a_model_has_one_active_rollout_and_others_have_theirs(store):
    await store.create_rollout(a_rollout())
    with pytest.raises(Conflict, match="'r1' of churn is active"):
        await store.create_rollout(a_rollout("r2"))
    with pytest.raises(NotFound, match="r2"):
        await store.rollout("r2")
    await store.create_rollout(a_rollout("r3", "other"))


async def test_of_many_starters_of_a_rollout_exactly_one_succeeds(store):
    rollouts = [a_rollout(f"r{number}") for number in range(20)]
    answers = await asyncio.gather(*map(store.create_rollout, rollouts), return_exceptions=True)
    assert outcomes(answers) == [Conflict] * 19 + [type(None)]
    assert await store.rollouts() == [rollouts[answers.index(None)]]


async def test_the_end_of_a_rollout_makes_way_for_the_next(store):
    first = a_rollout()
    await store.create_rollout(first)
    baking = promote(first, "ana", "", 200.0)
    await store.save_rollout(baking, before=first)
    with pytest.raises(Conflict, match="r1"):
        await store.create_rollout(a_rollout("r2"))
    promoted = promote(baking, "ana", "", 300.0)
    await store.save_rollout(promoted, before=baking)
    await store.create_rollout(a_rollout("r2", started_at=400.0))
    await store.save_rollout(rollback(promoted, "ana", "", 500.0), before=promoted)
    with pytest.raises(Conflict, match="r2"):
        await store.create_rollout(a_rollout("r3"))


async def test_an_ended_rollout_is_never_active_again(store):
    rollout = a_rollout()
    await store.create_rollout(rollout)
    ended = abort(rollout, "ana", "", 200.0)
    await store.save_rollout(ended, before=rollout)
    with pytest.raises(Conflict, match=r"aborted.*shadow"):
        await store.save_rollout(rollout, before=ended)
    assert await store.rollout("r1") == ended


async def test_a_rollout_that_somebody_else_changed_is_a_conflict_and_stays(store):
    rollout = a_rollout()
    await store.create_rollout(rollout)
    aborted = abort(rollout, "ana", "", 200.0)
    await store.save_rollout(aborted, before=rollout)
    for late in (promote(rollout, "bob", "", 201.0), aborted):
        with pytest.raises(Conflict, match=r"'r1' was changed.*aborted"):
            await store.save_rollout(late, before=rollout)
    assert await store.rollout("r1") == aborted


@pytest.mark.parametrize("alike", [True, False])
async def test_of_many_writers_racing_to_save_a_rollout_exactly_one_succeeds(store, alike):
    rollout = a_rollout()
    await store.create_rollout(rollout)
    saved = [promote(rollout, "ana" if alike else f"writer {number}", "", 200.0) for number in range(20)]
    answers = await asyncio.gather(*(store.save_rollout(item, rollout) for item in saved), return_exceptions=True)
    assert outcomes(answers) == [Conflict] * 19 + [type(None)]
    assert await store.rollout("r1") == saved[answers.index(None)]


async def test_a_rollout_made_of_whole_numbers_is_no_other_rollout(store):
    rollout = a_rollout(started_at=100, margin=0)
    await store.create_rollout(rollout)
    await store.save_rollout(promote(rollout, "ana", "", 200), before=rollout)
    assert (await store.rollout("r1")).state is RolloutState.BAKING


async def test_a_rollout_that_was_never_created_is_not_found(store):
    with pytest.raises(NotFound, match="r1"):
        await store.save_rollout(a_rollout(), before=a_rollout())
    with pytest.raises(NotFound, match="r1"):
        await store.rollout("r1")
    assert await store.rollouts() == []


async def test_rollouts_come_newest_first_up_to_a_limit(store):
    for rollout_id, model_id, started_at in (("b", "m1", 2.5), ("a", "m2", 1_700_000_000.123), ("c", "m3", 2.5)):
        await store.create_rollout(a_rollout(rollout_id, model_id, started_at))
    assert [rollout.rollout_id for rollout in await store.rollouts()] == ["a", "c", "b"]
    assert [rollout.rollout_id for rollout in await store.rollouts(limit=2)] == ["a", "c"]
    assert [rollout.rollout_id for rollout in await store.rollouts("m1")] == ["b"]
    with pytest.raises(InvalidRequest, match="limit"):
        await store.rollouts(limit=0)


async def test_the_audit_log_comes_newest_first_and_whole(store):
    assert await store.audit() == []
    first = AuditEntry(20.5, "ana", "rollout.promote", "churn", request_id="é", detail={"version": "4", "tries": 2})
    again = AuditEntry(10.0, "anonymous", "auth.refused", outcome="the token has expired")
    for entry in (first, again, again):
        await store.append_audit(entry)
    assert await store.audit() == [again, again, first]
    assert await store.audit(limit=1) == [again]
    with pytest.raises(InvalidRequest, match="limit"):
        await store.audit(limit=0)


async def test_old_processes_of_a_model_are_listed_the_oldest_first_and_dropped_once_ended(store):
    for name, created_at in (("late", 300.0), ("old", 100.0), ("older", 50.0), ("running", 60.0)):
        await store.create_process(a_process(name, created_at=created_at), 60)
    await store.create_process(a_process("other", "fraud", 10.0), 60)
    for name in ("late", "old", "older"):
        await store.save_process(replace(await store.process(name), status=Status.SUCCEEDED))
    old = await store.old_processes("churn", 300.0)
    assert [process.process_id for process in old] == ["older", "running", "old"]
    assert [process.process_id for process in await store.old_processes("churn", 300.0, limit=1)] == ["older"]
    assert await store.drop_processes(old) == 2
    assert await store.drop_processes(old) == 0
    assert [process.process_id for process in await store.processes("churn")] == ["late", "running"]
    assert len(await store.processes()) == 3
    with pytest.raises(ProcessNotFound):
        await store.process("old")


async def test_ended_rollouts_are_dropped_with_their_looks_and_an_active_one_stays(store):
    first = a_rollout("r1")
    await store.create_rollout(first)
    looked = advance(first, Look("l1", 150.0, RolloutState.SHADOW), 150.0)
    await store.save_rollout(looked, before=first)
    ended = abort(looked, "ana", "", 200.0)
    await store.save_rollout(ended, before=looked)
    second = a_rollout("r2", started_at=300.0)
    await store.create_rollout(second)
    assert await store.drop_rollouts([ended, second]) == 1
    assert await store.drop_rollouts([ended]) == 0
    assert await store.rollouts("churn") == await store.rollouts() == [second]
    with pytest.raises(NotFound):
        await store.rollout("r1")
    await store.save_rollout(abort(second, "ana", "", 400.0), before=second)
    await store.create_rollout(a_rollout("r1", started_at=500.0))
    assert (await store.rollout("r1")).looks == ()
