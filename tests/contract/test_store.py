import asyncio
from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, ProcessNotFound


def a_model(model_id: str = "churn", **changes: Any) -> ModelSpec:
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target", **changes)


def a_process(process_id: str = "p1", model_id: str = "churn", created_at: float = 100.0) -> Process:
    return Process(process_id, "tune", model_id, Status.PENDING, created_at, created_at, command={"trials": 5})


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
