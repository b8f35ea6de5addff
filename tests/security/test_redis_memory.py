"""A Redis that is full refuses what would add to it, says so, and half of no write is done; rows can still leave it."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis

from optagent.adapters.state import observations as observations_module
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.embedded.machine_memory import default_redis_memory, machine_memory
from optagent.adapters.state.observations import RedisObservations
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import AuditEntry
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.process import Process, Status
from optagent.domain.rollout import abort, advance, begin
from optagent.domain.rollout_look import Look, RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import Conflict, Unavailable
from optagent.ports import RecordKind

LIMIT = 32_000_000
FULL = r"is full: .* maxmemory of 3 MB .* OPT_AGENT_REDIS_MAX_MEMORY_MB"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("home"), LIMIT) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(server.url) as connected:
        connected.config_set("maxmemory", LIMIT)
        connected.flushall()
        yield connected


@pytest.fixture
async def store(server: EmbeddedRedis) -> AsyncIterator[RedisStore]:
    opened = RedisStore(server.url)
    yield opened
    await opened.close()


@pytest.fixture
def observations(server: EmbeddedRedis, tmp_path: Path) -> Iterator[RedisObservations]:
    opened = RedisObservations(server.url, tmp_path)
    yield opened
    opened.close()


def fill(client: Redis) -> None:
    """Fills the server far above a limit of 3 MB."""
    client.set("filler:1", b"x" * 5_000_000)
    client.config_set("maxmemory", 3_000_000)


def content(client: Redis) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter() if not key.startswith(b"filler:")}


def rows(count: int) -> pa.Table:
    times = pa.array(np.full(count, 1_700_000_000_000_000)).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": pa.array([str(row) for row in range(count)], pa.large_string()), "time": times})


def process(name: str, status: Status) -> Process:
    return Process(name, "tune", "churn", status, 1.0, 1.0)


WRITES: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "model": lambda store: store.save_model(ModelSpec("churn", Task.BINARY, FileSource("/rows.parquet"), "y")),
    "process": lambda store: store.create_process(process("new", Status.PENDING), 60),
    "queued": lambda store: store.enqueue_process(process("new", Status.QUEUED)),
    "claim": lambda store: store.claim_process("waiting", 60),
    "rollout": lambda store: store.create_rollout(begin("r", "churn", "1", "2", RolloutPolicy(), 1.0, "ana")),
    "once": lambda store: store.claim_once("key", 60),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_to_a_full_store_names_the_limit_and_the_setting_and_changes_nothing(client, store, name):
    await store.enqueue_process(process("waiting", Status.QUEUED))
    fill(client)
    before = content(client)
    with pytest.raises(Unavailable, match=FULL):
        await WRITES[name](store)
    assert content(client) == before


def test_a_recorder_is_refused_and_the_rows_that_wait_can_be_archived(client, observations):
    observations.record("churn", RecordKind.PREDICTIONS, rows(10))
    fill(client)
    before = content(client)
    for model_id in ("churn", "another"):
        with pytest.raises(Unavailable, match=FULL):
            observations.record(model_id, RecordKind.PREDICTIONS, rows(10))
    assert content(client) == before
    assert observations.drain("churn") == 10
    assert observations.backlog("churn") == 0


def test_a_server_is_full_at_its_limit(client, observations):
    def record_many() -> None:
        for number in range(1000):
            observations.record(f"model-{number}", RecordKind.PREDICTIONS, rows(10_000))

    with pytest.raises(Unavailable, match="maxmemory of 32 MB"):
        record_many()


def test_the_embedded_server_has_a_limit_and_evicts_nothing(client):
    assert client.config_get("maxmemory") == {"maxmemory": str(LIMIT)}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_the_limit_is_a_quarter_of_the_containers_memory_and_at_least_256_mb(tmp_path):
    (tmp_path / "large").write_text("1400000000\n")
    (tmp_path / "small").write_text("100000000\n")
    (tmp_path / "none").write_text("max\n")
    assert default_redis_memory((str(tmp_path / "large"),)) == 350_000_000
    assert default_redis_memory((str(tmp_path / "small"),)) == 256_000_000
    assert machine_memory((str(tmp_path / "none"), str(tmp_path / "absent"))) > 1e8


async def test_a_look_of_a_long_rollout_costs_no_more_than_an_early_one(client, store):
    rollout = begin("r", "churn", "1", "2", RolloutPolicy(), 1.0, "ana")
    await store.create_rollout(rollout)
    costs = []
    for number in range(300):
        after = advance(rollout, Look(f"look-{number}", 2.0 + number, RolloutState.SHADOW, rows=number), 2.0 + number)
        before = client.info("stats")["total_net_input_bytes"]
        await store.save_rollout(after, rollout)
        costs.append(client.info("stats")["total_net_input_bytes"] - before)
        rollout = after
    assert max(costs[-10:]) < 1.2 * min(costs[:10])
    assert await store.rollout("r") == rollout
    assert await store.rollouts("churn") == [rollout]


async def test_looks_that_an_earlier_version_kept_in_the_record_stay_the_first(client, store):
    rollout = begin("r", "churn", "1", "2", RolloutPolicy(), 1.0, "ana")
    older = advance(rollout, Look("look-1", 2.0, RolloutState.SHADOW), 2.0)
    await store.create_rollout(older)
    newer = advance(older, Look("look-2", 3.0, RolloutState.SHADOW), 3.0)
    await store.save_rollout(newer, older)
    newest = advance(newer, Look("look-3", 4.0, RolloutState.SHADOW), 4.0)
    await store.save_rollout(newest, newer)
    assert await store.rollout("r") == newest
    with pytest.raises(Conflict):
        await store.save_rollout(newest, newer)


async def test_a_full_store_can_be_pruned_and_the_log_takes_the_entry(client, store):
    ended = replace(process("old", Status.PENDING), process_id="old")
    await store.create_process(ended, 60)
    await store.save_process(replace(ended, status=Status.SUCCEEDED))
    rollout = begin("r", "churn", "1", "2", RolloutPolicy(), 1.0, "ana")
    await store.create_rollout(rollout)
    over = abort(rollout, "ana", "", 2.0)
    await store.save_rollout(over, rollout)
    fill(client)
    assert await store.drop_processes([ended]) == 1
    assert await store.drop_rollouts([over]) == 1
    await store.append_audit(AuditEntry(3.0, "ana", "retention.pruned", "churn"))
    assert (await store.audit())[0].action == "retention.pruned"


async def test_what_runs_goes_on_while_the_store_is_full(client, store):
    running = replace(process("runs", Status.PENDING), process_id="runs")
    await store.create_process(running, 60)
    fill(client)
    await store.renew_lease(running, 600)
    assert client.pttl("optagent:lease:runs") > 60_000


def test_rows_that_a_lost_process_had_taken_are_erased_too(client, server, tmp_path):
    first, second = (RedisObservations(server.url, tmp_path, claim_after_s=0.2) for _ in range(2))
    first.record("churn", RecordKind.PREDICTIONS, rows(3))
    assert len(first._queue.take("churn", 10).entries) == 1  # and then it is lost
    assert second.erase("churn", ["1"]) == {"predictions": 1}
    assert second.backlog("churn") == 0
    first.close()
    second.close()


def test_rows_that_another_process_holds_and_does_not_archive_are_not_said_to_be_erased(
    client, server, tmp_path, monkeypatch
):
    first, second = (RedisObservations(server.url, tmp_path, claim_after_s=60.0) for _ in range(2))
    first.record("churn", RecordKind.PREDICTIONS, rows(3))
    first._queue.take("churn", 10)
    monkeypatch.setattr(observations_module, "_ERASE_WAIT_S", 0.5)
    with pytest.raises(Unavailable, match="nothing was erased"):
        second.erase("churn", ["1"])
    assert second.backlog("churn") == 3
    first.close()
    second.close()


def test_an_erased_id_is_not_in_the_files_of_the_server_either(client, server, observations):
    secret = b"erased-by-request-1"
    times = pa.array([1_700_000_000_000_000]).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"id": pa.array([secret.decode()], pa.large_string()), "time": times})
    observations.record("churn", RecordKind.LABELS, table)
    assert holds(server.folder, secret)
    assert observations.erase("churn", [secret.decode()]) == {"labels": 1}
    give_up = time.monotonic() + 60
    while holds(server.folder, secret) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not holds(server.folder, secret)


def holds(folder: Path, text: bytes) -> bool:
    found = False
    for path in (folder / "data").rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
            found = found or (path.is_file() and text in path.read_bytes())
    return found
