"""The checkup of a real server: the embedded one is sound, and one that evicts keys or keeps no file is not."""

from pathlib import Path

import redis

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.bootstrap.checkup.store import check_redis, look_at_configured, look_at_embedded


def test_the_embedded_server_is_sound_while_it_runs_and_is_not_started(tmp_path: Path):
    assert look_at_embedded(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with EmbeddedRedis(tmp_path):
        results = check_redis(lambda: look_at_embedded(tmp_path), "the embedded server")
        assert [(result.name, str(result.level)) for result in results] == [("redis", "ok"), ("clock", "ok")]


def test_a_server_that_may_lose_records_is_told_by_its_own_words(tmp_path: Path):
    with EmbeddedRedis(tmp_path) as embedded:
        client = redis.Redis.from_url(embedded.url)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        client.close()
        messages = [result.message for result in check_redis(lambda: look_at_configured(embedded.url), "it")]
    assert any("evicts keys" in message for message in messages)
    assert any("no append-only file" in message for message in messages)
