"""Models of a store: each is made once, changed by compare-and-set, and read whatever becomes of the others."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.process import Process, Status
from optagent.domain.rollout import abort, begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import Conflict, ModelNotFound, OptAgentError
from optagent.ports import Store

BROKEN = b'{"written": "by a later version"}'
Break = Callable[[str, str], Awaitable[None]]


def a_model(model_id: str = "churn", **changes: Any) -> ModelSpec:
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target", **changes)


@pytest.fixture
def spoil(store: Store) -> Break:
    """Makes a stored record unreadable: `await spoil("model", "churn")`."""

    async def spoil_in_memory(kind: str, name: str) -> None:
        if kind == "model":
            store._models[name] = BROKEN
        elif kind == "process":
            store._processes[name].data = BROKEN
        elif kind == "alert":
            store._alerts[name] = (store._alerts[name][0], BROKEN, store._alerts[name][2])
        else:
            store._rollouts[name] = replace(store._rollouts[name], data=BROKEN)

    async def spoil_on_redis(kind: str, name: str) -> None:
        redis, key = store._link.redis, store._link.key
        if kind == "model":
            await redis.hset(key("models"), name, BROKEN)
        elif kind == "alert":
            await redis.hset(key("alerts", "churn"), name, BROKEN)
        else:
            await redis.hset(key(kind, name), "data", BROKEN)

    return spoil_in_memory if isinstance(store, InMemoryStore) else spoil_on_redis


async def test_a_model_is_made_once(store):
    await store.create_model(a_model())
    with pytest.raises(Conflict, match="churn"):
        await store.create_model(a_model(description="another"))
    assert await store.model("churn") == a_model()


async def test_a_model_that_was_saved_cannot_be_made(store):
    await store.save_model(a_model())
    with pytest.raises(Conflict, match="churn"):
        await store.create_model(a_model())


async def test_of_many_makers_of_one_model_exactly_one_succeeds_even_where_they_make_the_same(store):
    answers = await asyncio.gather(*(store.create_model(a_model()) for _ in range(20)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19


async def test_a_model_is_replaced_only_where_it_is_what_it_was(store):
    await store.save_model(a_model())
    changed = a_model(description="newer")
    await store.replace_model(changed, a_model())
    assert await store.model("churn") == changed
    with pytest.raises(Conflict, match=r"churn.*changed by somebody else"):
        await store.replace_model(a_model(description="late"), a_model())
    assert await store.model("churn") == changed
    with pytest.raises(ModelNotFound, match="nobody"):
        await store.replace_model(a_model("nobody"), a_model("nobody"))


async def test_of_many_changes_of_one_model_exactly_one_succeeds(store):
    await store.save_model(a_model())
    answers = await asyncio.gather(
        *(store.replace_model(a_model(description=str(number)), a_model()) for number in range(20)),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19
    assert (await store.model("churn")).description == str(answers.index(None))


async def test_a_model_that_cannot_be_read_hides_no_other_and_is_named(store, spoil):
    for name in ("a", "b", "c"):
        await store.save_model(a_model(name))
    await spoil("model", "b")
    assert [spec.model_id for spec in await store.models()] == ["a", "c"]
    [sentence] = store.unreadable_records()
    assert "ModelSpec 'b' cannot be read" in sentence
    with pytest.raises(OptAgentError):
        await store.model("b")
    await store.save_model(a_model("b"))
    assert len(await store.models()) == 3
    assert store.unreadable_records() == []


async def test_it_is_logged_once_however_often_it_is_read(store, spoil, caplog):
    await store.save_model(a_model())
    await spoil("model", "churn")
    for _ in range(5):
        await store.models()
    assert len([record for record in caplog.records if "'churn' cannot be read" in record.getMessage()]) == 1


async def test_an_alert_that_cannot_be_read_hides_no_other(store, spoil):
    alerts = [Alert(name, "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, 1.0, 1.0) for name in ("a", "b")]
    await store.save_alerts(alerts)
    await spoil("alert", "a")
    for model_id in (None, "churn"):
        assert [alert.alert_id for alert in await store.alerts(model_id)] == ["b"]
    assert len(store.unreadable_records()) == 1


async def test_a_rollout_that_cannot_be_read_hides_no_older_one_but_the_newest_decides(store, spoil):
    for at, name in enumerate(("old", "newer", "newest")):
        rollout = begin(name, "churn", "1", "2", RolloutPolicy(), float(at), "sdk")
        await store.create_rollout(rollout)
        await store.save_rollout(abort(rollout, "sdk", "", at + 0.5), rollout)
    await store.create_rollout(begin("other", "delays", "1", "2", RolloutPolicy(), 9.0, "sdk"))
    await spoil("rollout", "newer")
    assert [rollout.rollout_id for rollout in await store.rollouts("churn")] == ["newest", "old"]
    await spoil("rollout", "newest")
    assert [rollout.rollout_id for rollout in await store.rollouts()] == ["other", "old"]
    with pytest.raises(OptAgentError):  # whether a rollout is active is not known: the model's readers must not guess
        await store.rollouts("churn", 1)


async def test_a_process_that_cannot_be_read_hides_no_other_and_does_not_block_the_queue(store, spoil):
    for number in range(6):
        queued = Process(f"p{number}", "tune", "churn", Status.QUEUED, float(number), 0.0)
        await store.enqueue_process(queued)
    await store.create_process(Process("running", "tune", "churn", Status.RUNNING, 9.0, 9.0), 60)
    await store.create_process(Process("strange", "tune", "churn", Status.RUNNING, 9.0, 9.0), 60)
    for name in ("p0", "p1", "p2", "strange"):
        await spoil("process", name)
    for _ in range(2):
        head = await store.queue_head(2)
        assert [process.process_id for process in head.running] == ["running"]
        assert [process.process_id for process in head.waiting] == ["p3", "p4"]
    assert len(await store.processes()) == 4
    assert len(await store.unended_processes()) == 4
    assert [process.process_id for process in await store.unended_processes(limit=1)] == ["running"]
