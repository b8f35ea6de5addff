import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis, read_endpoint
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.audit import AuditEntry
from optagent.domain.dataset import FileSource
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import WatchMark
from optagent.domain.process import Process, Status
from optagent.domain.rollout import begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidRequest, NotFound, OptAgentError, Unavailable

MODEL = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "target")
PROCESS = Process("p1", "tune", "churn", Status.PENDING, 100.0, 100.0)
QUEUED = replace(PROCESS, process_id="p2", status=Status.QUEUED)
ROLLOUT = begin("r1", "churn", "3", "4", RolloutPolicy(), 100.0, "sdk")
ALERT = Alert("a1", "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, first_seen=10.0, last_seen=10.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def every_verb(store: RedisStore) -> list[Awaitable[object]]:
    return [
        store.check(),
        store.save_model(MODEL),
        store.create_model(MODEL),
        store.replace_model(MODEL, MODEL),
        store.model("churn"),
        store.models(),
        store.create_process(PROCESS, 60),
        store.save_process(PROCESS),
        store.renew_lease(PROCESS, 60),
        store.process("p1"),
        store.processes(),
        store.processes_of_kind("churn", "tune"),
        store.process_summaries("churn", "tune", 0.0),
        store.unended_processes(),
        store.latest_ends(),
        store.queue_head(1),
        store.queue_places(["p1"]),
        store.request_cancel("p1"),
        store.cancel_requested("p1"),
        store.save_report("churn:today", "digest", ModelReport("churn")),
        store.find_report("churn:today", "digest"),
        store.save_watch_mark("churn", WatchMark()),
        store.watch_mark("churn"),
        store.save_label_history("churn", LabelHistory()),
        store.label_history("churn"),
        store.save_detector("churn", {}),
        store.detector("churn"),
        store.save_alerts([ALERT]),
        store.alerts(),
        store.enqueue_process(QUEUED),
        store.claim_process("p2", 60),
        store.create_rollout(ROLLOUT),
        store.save_rollout(ROLLOUT, ROLLOUT),
        store.rollout("r1"),
        store.rollouts(),
        store.append_audit(AuditEntry(100.0, "ana", "rollout.promote")),
        store.audit(),
        store.audit_links(),
    ]


async def assert_unavailable_within_5_s(store: RedisStore, address: str, password: str) -> None:
    """Five seconds of a machine that runs this process: the time in which it was not given a core does not count."""
    started, stalled_s = time.monotonic(), 0.0

    async def tick() -> None:
        nonlocal stalled_s
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            stalled_s += max(0.0, time.monotonic() - before - 0.1)

    ticking = asyncio.create_task(tick())
    answers = await asyncio.gather(*every_verb(store), return_exceptions=True)
    ticking.cancel()
    assert time.monotonic() - started - stalled_s < 5
    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert address in str(answer)
        assert password not in str(answer)
        assert password not in repr(answer.__cause__)


async def test_every_verb_names_a_server_that_is_not_there(free_port):
    store = RedisStore(f"redis://:sesame123@127.0.0.1:{free_port}/0")
    await assert_unavailable_within_5_s(store, f"127.0.0.1:{free_port}", "sesame123")
    await store.close()


async def test_every_verb_names_a_server_that_went_away(tmp_path):
    server = EmbeddedRedis(tmp_path)
    store = RedisStore(server.url)
    await store.save_model(MODEL)
    process = psutil.Process(server.endpoint.pid)
    server.close()
    _, still_there = psutil.wait_procs([process], timeout=5)
    assert not still_there
    await assert_unavailable_within_5_s(store, f"127.0.0.1:{server.endpoint.port}", server.endpoint.password)
    await store.close()


async def test_no_verb_hangs_on_a_server_that_hangs_and_all_recover(server):
    store = RedisStore(server.url)
    await store.create_process(PROCESS, 60)
    os.kill(server.endpoint.pid, signal.SIGSTOP)
    try:
        await assert_unavailable_within_5_s(store, f"127.0.0.1:{server.endpoint.port}", server.endpoint.password)
    finally:
        os.kill(server.endpoint.pid, signal.SIGCONT)
    await store.check()
    await store.save_model(MODEL)
    assert await store.model("churn") == MODEL
    assert await store.process("p1") == PROCESS
    await store.close()


async def test_a_fresh_store_does_not_hang_on_a_server_that_hangs(server):
    store = RedisStore(server.url)
    os.kill(server.endpoint.pid, signal.SIGSTOP)
    try:
        await assert_unavailable_within_5_s(store, f"127.0.0.1:{server.endpoint.port}", server.endpoint.password)
    finally:
        os.kill(server.endpoint.pid, signal.SIGCONT)
    await store.close()


async def test_a_refused_password_is_said_at_once(server):
    store = RedisStore(f"redis://:sesame123@127.0.0.1:{server.endpoint.port}/0")
    started = time.monotonic()
    with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{server.endpoint.port}.*password"):
        await store.check()
    assert time.monotonic() - started < 2
    await store.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://sesame123@host", "redis://:sesame123@host:port/0"])
def test_an_url_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(InvalidRequest, match="redis://") as refused:
        RedisStore(url)
    assert "sesame123" not in str(refused.value)


async def test_a_server_without_append_only_file_is_used_as_it_is(server):
    admin = Redis.from_url(server.url)
    await admin.config_set("appendonly", "no")
    store = RedisStore(server.url)
    await store.save_model(MODEL)
    assert await store.models() == [MODEL]
    await store.close()
    await admin.aclose()


async def test_what_another_version_wrote_is_refused_by_name(server):
    prefix = secrets.token_hex(4)
    store = RedisStore(server.url, prefix=prefix)
    await store.save_model(MODEL)
    await store.create_process(PROCESS, 60)
    admin = Redis.from_url(server.url)
    await admin.hset(f"{prefix}:models", "churn", '{"model_id": "churn", "task": "clairvoyance"}')
    await admin.hset(f"{prefix}:process:p1", "data", b"\xff not json")
    for verb in (store.model("churn"), store.process("p1")):
        with pytest.raises(OptAgentError, match="another version of optagent") as refused:
            await verb
        assert not isinstance(refused.value, InvalidRequest | NotFound)
    assert (await store.models(), await store.processes()) == ([], [])
    assert len(store.unreadable_records()) == 2
    await store.close()
    await admin.aclose()


async def test_a_key_of_another_kind_is_refused_by_name_of_the_server(server):
    store = RedisStore(server.url)
    admin = Redis.from_url(server.url)
    await admin.set("optagent:models", "not a hash")
    with pytest.raises(Unavailable, match=f"{server.endpoint.port}.*WRONGTYPE"):
        await store.models()
    await store.close()
    await admin.aclose()


async def test_a_creation_repeated_after_a_lost_answer_is_no_conflict(server):
    """The server is killed again and again under creations; each either succeeds or says that it did not."""
    store = RedisStore(server.url)

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(0.25)
            if (endpoint := read_endpoint(server.folder)) is not None:
                os.kill(endpoint.pid, signal.SIGKILL)

    killer = asyncio.create_task(kill())
    created = 0
    while not killer.done():
        process = Process(f"p{created}", "tune", "churn", Status.PENDING, float(created), 0.0)
        await store.create_process(process, 60)
        created += 1
    assert len(await store.processes(limit=created)) == created
    await store.close()
