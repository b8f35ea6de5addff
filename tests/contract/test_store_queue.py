"""Queue of a store: every process that has not ended is seen, whatever the number of those that have."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.process import Process, ProcessSummary, Status
from optagent.domain.queue_order import QueueHead
from optagent.errors import Busy, Conflict, InvalidRequest


def a_process(process_id: str, status: Status = Status.QUEUED, at: float = 100.0, **changes: Any) -> Process:
    return replace(Process(process_id, "tune", "churn", status, at, at), **changes)


def ids(processes: Any) -> list[str]:
    return [process.process_id for process in processes]


async def end(store: Any, process: Process, **changes: Any) -> None:
    await store.save_process(process.with_event(process.updated_at + 1, "ended", Status.SUCCEEDED, **changes))


async def test_a_new_store_has_an_empty_queue(store):
    assert await store.queue_head(10) == QueueHead()
    assert await store.unended_processes() == []
    assert await store.queue_places(["nothing"]) == {}
    assert await store.process_summaries("churn", "tune", 0.0) == []


async def test_those_that_wait_come_in_the_order_in_which_they_start_and_have_places(store):
    decays = a_process("decays", at=7000.0, kind="optimize", command={"trigger": "degradation"})
    calendar = a_process("calendar", at=3000.0, kind="optimize", command={"trigger": "schedule"})
    for process in (calendar, a_process("b", at=200.0), a_process("a", at=200.0), decays, a_process("c", at=100.0)):
        await store.enqueue_process(process)
    order = ["c", "a", "b", "decays", "calendar"]
    assert ids((await store.queue_head(10)).waiting) == order
    assert ids((await store.queue_head(2)).waiting) == order[:2]
    assert await store.queue_places([*order, "nothing"]) == {name: place for place, name in enumerate(order, start=1)}


async def test_a_process_moves_from_waiting_to_running_to_ended(store):
    await store.enqueue_process(a_process("p1"))
    claimed = await store.claim_process("p1", 60)
    assert (await store.queue_head(10)) == QueueHead(running=(claimed,))
    assert await store.queue_places(["p1"]) == {}
    running = claimed.with_event(101.0, "started", Status.RUNNING)
    await store.save_process(running)
    assert (await store.queue_head(10)) == QueueHead(running=(running,))
    assert await store.unended_processes() == await store.unended_processes("churn") == [running]
    await end(store, running)
    assert await store.queue_head(10) == QueueHead()
    assert await store.unended_processes() == await store.unended_processes("churn") == []


async def test_a_process_that_was_never_queued_runs_too(store):
    running = a_process("p1", Status.RUNNING)
    await store.create_process(running, 60)
    assert await store.queue_head(1) == QueueHead(running=(running,))


async def test_ended_processes_hide_none_that_has_not_ended(store):
    await store.enqueue_process(a_process("old"))
    await store.create_process(a_process("long", Status.RUNNING), 60)
    for number in range(300):
        await store.create_process(a_process(f"done-{number}", Status.SUCCEEDED, at=200.0 + number), 60)
    head = await store.queue_head(1)
    assert (ids(head.running), ids(head.waiting)) == (["long"], ["old"])
    assert ids(await store.unended_processes(limit=5)) == ["old", "long"]
    assert await store.queue_places(["old"]) == {"old": 1}


async def test_unended_processes_come_newest_first_by_model_and_limit(store):
    for number in range(5):
        await store.enqueue_process(a_process(f"p{number}", at=float(number), model_id=f"m{number % 2}"))
    assert ids(await store.unended_processes()) == ["p4", "p3", "p2", "p1", "p0"]
    assert ids(await store.unended_processes("m0", limit=2)) == ["p4", "p2"]
    for bad in (store.unended_processes(limit=0), store.queue_head(0)):
        with pytest.raises(InvalidRequest, match="limit"):
            await bad


async def test_a_durable_process_whose_runner_is_gone_waits_in_its_turn_again(under_test):
    store = under_test.port
    for number, name in enumerate("abc"):
        await store.enqueue_process(a_process(name, at=float(number), durable=True))
    first = await store.claim_process("b", 0.05)
    await store.save_process(first.with_event(101.0, "started", Status.RUNNING))
    await under_test.pass_time(0.3)
    assert ids((await store.queue_head(10)).waiting) == ["a", "b", "c"]
    assert await store.queue_places(["c", "b", "a"]) == {"a": 1, "b": 2, "c": 3}
    await store.claim_process("b", 60)
    assert await store.queue_places(["c", "b", "a"]) == {"a": 1, "c": 2}


async def test_a_process_that_is_interrupted_for_good_leaves_the_queue_and_comes_back_with_its_runner(under_test):
    store, running = under_test.port, a_process("p1", Status.RUNNING)
    await store.create_process(running, 0.05)
    await under_test.pass_time(0.3)
    assert (await store.process("p1")).status is Status.INTERRUPTED
    for _ in range(2):
        assert await store.queue_head(10) == QueueHead()
        assert await store.unended_processes() == await store.unended_processes("churn") == []
    await store.renew_lease(running, 60)
    assert await store.queue_head(10) == QueueHead(running=(running,))
    assert await store.unended_processes("churn") == [running]


async def test_those_that_were_asked_to_stop_while_they_wait_are_apart(under_test):
    store = under_test.port
    for name in "abcd":
        await store.enqueue_process(a_process(name, durable=True))
    first = await store.claim_process("d", 0.05)
    await store.save_process(first.with_event(101.0, "started", Status.RUNNING))
    for name in "bd":
        await store.request_cancel(name)
    await under_test.pass_time(0.3)
    head = await store.queue_head(10)
    assert (ids(head.waiting), ids(head.stopping)) == (["a", "c"], ["b", "d"])
    claimed = await store.claim_process("b", 60)
    head = await store.queue_head(10)
    assert (ids(head.running), ids(head.stopping)) == (["b"], ["d"])
    await store.save_process(claimed.with_event(102.0, "cancelled", Status.CANCELLED))
    assert ids((await store.queue_head(10)).running) == []


async def test_a_full_queue_refuses_one_more_by_its_rule_and_takes_it_later(store):
    for number in range(3):
        await store.enqueue_process(a_process(f"p{number}"), max_queued=3)
    with pytest.raises(Busy, match=r"3 processes wait already.*OPT_AGENT_MAX_QUEUED"):
        await store.enqueue_process(a_process("p3"), max_queued=3)
    with pytest.raises(Conflict, match="p2"):
        await store.enqueue_process(a_process("p2"), max_queued=3)
    await store.create_process(a_process("now", Status.PENDING), 60)
    await store.enqueue_process(a_process("without a bound"))
    for name in ("p0", "p1"):
        await store.claim_process(name, 60)
    await store.enqueue_process(a_process("p3"), max_queued=3)
    assert ids(await store.unended_processes()).count("p3") == 1


async def test_the_bound_holds_where_many_queue_at_once(store):
    answers = await asyncio.gather(
        *(store.enqueue_process(a_process(f"p{number}"), max_queued=5) for number in range(12)), return_exceptions=True
    )
    refusals = [answer for answer in answers if answer is not None]
    assert len(refusals) == 7
    assert [refusal for refusal in refusals if not isinstance(refusal, Busy)] == []
    assert len((await store.queue_head(100)).waiting) == 5


async def test_runs_of_one_kind_are_counted_however_many_others_there_are(store):
    for at, name in ((10.0, "before"), (20.0, "idle"), (30.0, "last")):
        process = a_process(name, Status.RUNNING, at, kind="optimize")
        await store.create_process(process, 60)
        if name != "last":
            await end(store, process, result={"status": "unchanged" if name == "idle" else "success"})
    for number in range(450):
        await store.create_process(a_process(f"tune-{number}", Status.SUCCEEDED, at=100.0 + number), 60)
    await store.create_process(a_process("other", Status.RUNNING, 40.0, kind="optimize", model_id="other"), 60)
    last, idle = ProcessSummary("last", 30.0, False), ProcessSummary("idle", 20.0, True, "unchanged")
    assert await store.process_summaries("churn", "optimize", 20.0) == [last, idle]
    assert await store.process_summaries("churn", "optimize", 1000.0) == [last]
    assert ids(await store.processes_of_kind("churn", "optimize", 2)) == ["last", "idle"]
    assert ids(await store.processes_of_kind("churn", "tune", 1)) == ["tune-449"]


async def test_an_interrupted_run_has_ended_and_one_that_waits_for_another_runner_has_not(under_test):
    store = under_test.port
    await store.create_process(a_process("gone", Status.RUNNING, 10.0), 0.05)
    await store.enqueue_process(a_process("again", at=20.0, durable=True))
    await store.claim_process("again", 0.05)
    await under_test.pass_time(0.3)
    summaries = await store.process_summaries("churn", "tune", 0.0)
    assert [(summary.process_id, summary.has_ended) for summary in summaries] == [("again", False), ("gone", True)]


async def test_the_latest_ends_come_first_whenever_the_process_began(under_test):
    store = under_test.port
    for at, name in ((10.0, "long"), (20.0, "gone"), (30.0, "short")):
        await store.create_process(a_process(name, Status.RUNNING, at), 0.05 if name == "gone" else 60)
    await store.enqueue_process(a_process("waits", at=40.0))
    await store.save_process(a_process("short", Status.RUNNING, 30.0).with_event(31.0, "ended", Status.FAILED))
    await store.save_process(a_process("long", Status.RUNNING, 10.0).with_event(50.0, "ended", Status.SUCCEEDED))
    await under_test.pass_time(0.3)
    assert ids(await store.latest_ends()) == ["long", "short", "gone"]
    assert ids(await store.latest_ends(1)) == ["long"]
