"""What a step on a server must do for its acknowledgement to mean that it is on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from optagent.adapters.state import redis_scripts, stream_scripts
from optagent.adapters.state.embedded_redis import EmbeddedRedis


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Redis]:
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as connected:
        yield connected


def writes(client: Redis) -> int:
    return client.info("persistence")["rdb_changes_since_last_save"]


def created(client: Redis, creation: str) -> bytes:
    keys = ("process:p1", "lease:p1", "processes", "processes:churn")
    return client.eval(redis_scripts.CREATE, len(keys), *keys, "{}", 0, creation, 60_000, "100.0", "p1")


def test_a_creation_that_is_repeated_after_a_lost_answer_writes_again_and_changes_nothing(client):
    assert created(client, "ours") == b"OK"
    client.hset("process:p1", "data", "saved since")
    client.delete("lease:p1")
    before = writes(client)
    assert created(client, "ours") == b"OK"
    assert writes(client) > before
    assert client.hget("process:p1", "data") == b"saved since"
    assert not client.exists("lease:p1")


def test_a_creation_of_somebody_else_is_refused_and_writes_nothing(client):
    created(client, "ours")
    before = writes(client)
    assert created(client, "theirs") == b"TAKEN"
    assert writes(client) == before
    assert client.hget("process:p1", "creation") == b"ours"


def test_a_call_that_is_recorded_again_after_a_lost_answer_writes_again_and_is_taken_in_once(client):
    keys = ("stream", "stream:waiting", "stream:call:c1")
    values = ("epoch", 1000, 1_000_000, 30_000, "predictions", 1, b"data")
    assert client.eval(stream_scripts.RECORD, len(keys), *keys, *values) == []
    before = writes(client)
    assert client.eval(stream_scripts.RECORD, len(keys), *keys, *values) == []
    assert writes(client) > before
    assert client.xlen("stream") == 1
