"""A runner on a real server that loses its process, or only its server for a while."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from optagent.adapters.clock import SystemClock
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, LeaseLost
from optagent.loop.process import BEAT_S, Run, run_claimed

QUEUED = Process("p1", "tune", "churn", Status.QUEUED, 100.0, 100.0, durable=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


@pytest.fixture
async def store(server: EmbeddedRedis) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url)
    await store.enqueue_process(QUEUED)
    yield store
    await store.close()


async def taken_over(server: EmbeddedRedis, store: RedisStore) -> Process:
    """The process as its second runner has it; the lease ends at once, as it does after 15 s without a beat."""
    async with Redis.from_url(server.url) as admin:
        while True:
            await admin.delete("optagent:lease:p1")
            with contextlib.suppress(Conflict):  # a beat came in between
                return await store.claim_process("p1", 60)


async def test_a_runner_that_lost_its_process_stops_within_one_beat(server, store):
    has_begun = asyncio.Event()

    async def search(run: Run) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run_claimed("p1", search, store, SystemClock()))
    await has_begun.wait()
    successor = await taken_over(server, store)
    start = time.monotonic()
    with pytest.raises(LeaseLost, match="'p1' was taken over by another runner"):
        await asyncio.wait_for(running, 60)
    assert time.monotonic() - start < BEAT_S + 2  # a busy machine answers late
    assert await store.process("p1") == successor


async def test_a_runner_whose_server_hangs_goes_on_and_keeps_its_process(server, store, caplog):
    def is_away() -> bool:
        return any("goes on without its store" in record.message for record in caplog.records)

    async def search(run: Run) -> dict[str, int]:
        os.kill(server.endpoint.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                while not is_away():
                    await asyncio.sleep(0.05)
        finally:
            os.kill(server.endpoint.pid, signal.SIGCONT)
        return {"trials": 2}

    with caplog.at_level(logging.WARNING, "optagent.process"):
        await run_claimed("p1", search, store, SystemClock())
    process = await store.process("p1")
    assert replace(process, history=()) == replace(
        QUEUED, status=Status.SUCCEEDED, result={"trials": 2}, holder=process.holder, updated_at=process.updated_at
    )
