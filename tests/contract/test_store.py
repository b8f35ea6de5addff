import asyncio
from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.alert import Alert, AlertKind, Finding, Severity
from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import AnalysisType, Window
from optagent.domain.process import Process, Status
from optagent.domain.quality import DataQuality, Problem
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, ProcessNotFound


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
        quality=DataQuality(rows, 2, {Problem.UNSEEN: 1}, {"é": {Problem.UNSEEN: 1}}),
        metrics={"auc": 0.75},
    )


def an_alert(alert_id: str, model_id: str = "churn", **changes: Any) -> Alert:
    alert = Alert(alert_id, model_id, AlertKind.LATENCY, Severity.INFO, "slow", {}, first_seen=10.0, last_seen=10.0)
    return replace(alert, **changes)


async def test_a_store_that_works_checks_out(store):
    await store.check()


async def test_a_saved_model_reads_back_equal(store):
    spec = a_model(
        time_column="day",
        label_horizon="24h",
        features=("a", "é"),
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
    moved = process.moved(101.5, "started", Status.RUNNING, stage="optimize").progressed(102.0, {"trials_done": 3})
    await store.save_process(moved)
    assert await store.process("p1") == moved


async def test_saving_a_process_that_was_never_created_is_not_found(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.save_process(a_process())
    assert await store.processes() == []


async def test_an_unknown_process_is_not_found_by_name(store):
    with pytest.raises(ProcessNotFound, match="p9"):
        await store.process("p9")


@pytest.mark.parametrize("end", [status for status in Status if status.ended])
async def test_an_ended_process_never_comes_back_to_life(store, end):
    process = a_process()
    await store.create_process(process, lease_s=60)
    ended = process.moved(101.0, "ended", end, result={"ok": True})
    await store.save_process(ended)
    for status in (Status.PENDING, Status.RUNNING):
        with pytest.raises(Conflict, match="p1"):
            await store.save_process(replace(process, status=status))
    assert await store.process("p1") == ended


async def test_saving_an_end_twice_is_no_conflict(store):
    await store.create_process(a_process(), lease_s=60)
    ended = a_process().moved(101.0, "ended", Status.SUCCEEDED)
    await store.save_process(ended)
    await store.save_process(ended)
    assert await store.process("p1") == ended


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
async def test_a_process_whose_lease_ran_out_reads_as_interrupted(under_test, status):
    store = under_test.store
    await store.create_process(replace(a_process(), status=status), lease_s=0.05)
    await under_test.pass_time(0.3)
    seen = await store.process("p1")
    assert seen.status is Status.INTERRUPTED
    assert seen.error
    assert seen.history[-1].kind == "interrupted"
    assert await store.process("p1") == seen
    assert await store.processes() == [seen]


async def test_a_renewed_lease_keeps_a_process_running(under_test):
    store = under_test.store
    await store.create_process(a_process(), lease_s=0.05)
    await store.renew_lease("p1", 60)
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.PENDING


async def test_a_runner_that_comes_back_late_is_seen_running_again(under_test):
    store = under_test.store
    await store.create_process(a_process(), lease_s=0.05)
    await under_test.pass_time(0.3)
    await store.renew_lease("p1", 60)
    assert await store.process("p1") == a_process()


async def test_an_ended_process_needs_no_lease(under_test):
    store = under_test.store
    await store.create_process(a_process(), lease_s=0.05)
    ended = a_process().moved(101.0, "ended", Status.CANCELLED)
    await store.save_process(ended)
    await store.renew_lease("p1", 0.05)
    await under_test.pass_time(0.3)
    assert await store.process("p1") == ended


async def test_the_lease_of_an_unknown_process_cannot_be_renewed(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.renew_lease("p1", 60)


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
    await store.save_process(a_process().moved(101.0, "started", Status.RUNNING))
    assert await store.cancel_requested("p1")
    assert not await store.cancel_requested("p2")


async def test_an_unknown_process_cannot_be_cancelled(store):
    with pytest.raises(ProcessNotFound, match="p1"):
        await store.request_cancel("p1")
    assert not await store.cancel_requested("p1")


async def test_a_report_reads_back_by_its_key_and_digest(store):
    report = a_report(7)
    await store.save_report("churn:3:0..24:full", "d1", report)
    assert await store.report("churn:3:0..24:full", "d1") == report
    assert await store.report("churn:3:0..24:full", "d2") is None
    assert await store.report("churn:3:24..48:full", "d1") is None


async def test_a_report_of_other_rows_replaces_the_older_one(store):
    await store.save_report("key", "d1", a_report(1))
    await store.save_report("key", "d2", a_report(2))
    assert await store.report("key", "d1") is None
    assert await store.report("key", "d2") == a_report(2)


async def test_a_key_may_be_any_text(store):
    key = "é drift\n*?[a]" + "x" * 280
    await store.save_report(key, "sha256:é", a_report(1))
    assert await store.report(key, "sha256:é") == a_report(1)


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
