"""Index of processes on Redis: it takes in those of an older version once, and is cheap to read when it is long."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.codec import encode
from optagent.domain.process import Process, Status
from optagent.loop.queue import start_due

INDEX = ("unended", "unended:churn", "waiting", "held", "stopping", "process_index", "processes:churn:tune", "ended")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
async def store(server: EmbeddedRedis, prefix: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url, prefix)
    yield store
    await store.close()


class LaunchList:
    def __init__(self) -> None:
        self.ids: list[str] = []

    def launch(self, process_id: str) -> None:
        self.ids.append(process_id)

    def close(self) -> None: ...


def a_process(process_id: str, status: Status = Status.QUEUED, at: float = 0.0) -> Process:
    ended = {"result": {"status": "unchanged"}} if status.has_ended else {}
    return Process(process_id, "tune", "churn", status, at, at, **ended)


async def store_as_older_version(store: RedisStore, *processes: Process) -> None:
    """Writes the records and the two indexes that the version before had."""
    async with store._link.redis.pipeline(transaction=False) as pipe:
        for process in processes:
            record, name = store._link.key("process", process.process_id), process.process_id
            pipe.hset(record, mapping={"data": encode(process), "ended": int(process.status.has_ended)})
            for index in ("processes", "processes:churn"):
                pipe.zadd(store._link.key(index), {name: process.created_at})
        await pipe.execute()


async def test_what_an_older_version_left_is_seen_to(store, server, prefix):
    waiting, dead = a_process("waiting"), a_process("dead", Status.RUNNING, 1.0)
    await store_as_older_version(store, waiting, dead, a_process("done", Status.SUCCEEDED, 2.0))
    head = await store.queue_head(10)
    assert (head.waiting, head.running) == ((waiting,), ())
    assert await store.queue_places(["waiting"]) == {"waiting": 1}
    summaries = await store.process_summaries("churn", "tune", 0.0)
    assert [(item.process_id, item.has_ended, item.outcome) for item in summaries] == [
        ("done", True, "unchanged"),
        ("dead", True, ""),
        ("waiting", False, ""),
    ]
    assert [process.process_id for process in await store.latest_ends()] == ["done", "dead"]


async def test_an_index_that_was_deleted_is_made_again(store, server, prefix):
    await store.enqueue_process(a_process("a"))
    await store.enqueue_process(a_process("b", at=1.0))
    await store.claim_process("b", 60)
    head = await store.queue_head(10)
    await store._link.redis.delete(*(store._link.key(name) for name in INDEX))
    for name in "ab":
        await store._link.redis.hdel(store._link.key("process", name), "outcome")
    again = RedisStore(server.url, prefix)
    assert await again.queue_head(10) == head
    assert len(await again.processes_of_kind("churn", "tune")) == 2
    await again.close()


async def test_two_programs_that_make_the_index_at_once_make_the_same_while_processes_go_on(store, server, prefix):
    await store_as_older_version(store, *(a_process(f"p{number:03}", at=number) for number in range(250)))
    others = [RedisStore(server.url, prefix) for _ in range(3)]

    async def run_to_the_end() -> None:
        for number in range(0, 250, 10):
            process = await store.claim_process(f"p{number:03}", 60)
            if number % 20:
                await store.save_process(process.with_event(1.0, "ended", Status.SUCCEEDED))

    heads = await asyncio.gather(*(other.queue_head(1000) for other in others), run_to_the_end())
    assert len(heads) == 4
    head = await others[0].queue_head(1000)
    assert len(head.running) == 13
    assert len(head.waiting) == 225
    assert len(await others[1].unended_processes(limit=1000)) == 238
    for other in others:
        await other.close()


async def test_a_process_that_cannot_be_read_does_not_stop_the_making_of_the_index(store):
    await store_as_older_version(store, a_process("a"), a_process("b"))
    await store._link.redis.hset(store._link.key("process", "a"), "data", json.dumps({"process_id": "a"}))
    assert [process.process_id for process in (await store.queue_head(10)).waiting] == ["b"]


async def test_what_an_older_program_queued_beside_this_version_is_seen_by_the_next_that_starts(store, server, prefix):
    assert (await store.queue_head(10)).waiting == ()
    await store_as_older_version(store, a_process("late"))
    again = RedisStore(server.url, prefix)
    assert [process.process_id for process in (await again.queue_head(10)).waiting] == ["late"]
    await again.close()


async def test_a_look_at_ten_thousand_that_wait_reads_a_hundred(store, monkeypatch):
    await store_as_older_version(store, *(a_process(f"p{number:05}", at=number) for number in range(10_000)))
    await store.queue_head(1)
    count, decode_record = 0, store._link.decode_record

    def counting(*arguments):
        nonlocal count
        count += 1
        return decode_record(*arguments)

    monkeypatch.setattr(store._link, "decode_record", counting)
    launcher = LaunchList()
    assert await start_due(store, launcher, 2, ManualClock(0.0)) == ("p00000", "p00001")
    assert count <= 100
    assert await store.queue_places(["p09999"]) == {"p09999": 10_000}
    assert count <= 100


async def test_a_record_that_is_gone_leaves_the_index(store):
    await store.enqueue_process(a_process("a"))
    await store.enqueue_process(a_process("b", at=1.0))
    await store._link.redis.delete(store._link.key("process", "a"))
    assert [process.process_id for process in (await store.queue_head(1)).waiting] == ["b"]
    assert await store._link.redis.zrange(store._link.key("waiting"), 0, -1) == [b"b"]


async def test_every_index_is_empty_once_all_have_ended(store):
    for number in range(3):
        await store.enqueue_process(a_process(f"p{number}"))
    await store.request_cancel("p1")
    for number in range(3):
        process = await store.claim_process(f"p{number}", 60)
        await store.save_process(process.with_event(1.0, "ended", Status.SUCCEEDED))
    left = [name for name in INDEX[:5] if await store._link.redis.exists(store._link.key(name))]
    assert left == []


def test_the_names_of_keys_are_those_that_the_documentation_gives():
    from optagent.adapters.state.redis import processes, queue

    text = f"{processes.__doc__}{queue.__doc__}"
    assert [name for name in INDEX if name.replace("churn", "MODEL").replace("tune", "KIND") not in text] == []
