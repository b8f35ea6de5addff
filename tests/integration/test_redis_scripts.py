"""Every step on a Redis server writes when it is repeated, so that its acknowledgement means that it is on disk."""

from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path

import pytest
from redis import Redis

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis import audit_scripts, process_scripts, route_scripts, scripts, stream_scripts


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Redis]:
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as connected:
        yield connected


def writes(client: Redis) -> int:
    return client.info("persistence")["rdb_changes_since_last_save"]


def create_process(client: Redis, creation: str) -> bytes:
    indexes = ("processes", "processes:churn", "processes:churn:tune", "unended", "unended:churn")
    keys = ("process:p1", "lease:p1", *indexes, "waiting", "held", "stopping", "ended")
    place = ("held", "p1", "100.0", "100.0")
    return client.eval(process_scripts.CREATE, len(keys), *keys, "{}", 0, creation, *place, "", 60_000, "")


def test_a_creation_that_is_repeated_after_a_lost_answer_writes_again_and_changes_nothing(client):
    assert create_process(client, "ours") == b"OK"
    client.hset("process:p1", "data", "saved since")
    client.delete("lease:p1")
    before = writes(client)
    assert create_process(client, "ours") == b"OK"
    assert writes(client) > before
    assert client.hget("process:p1", "data") == b"saved since"
    assert not client.exists("lease:p1")


def test_a_creation_of_somebody_else_is_refused_and_writes_nothing(client):
    create_process(client, "ours")
    before = writes(client)
    assert create_process(client, "theirs") == b"TAKEN"
    assert writes(client) == before
    assert client.hget("process:p1", "creation") == b"ours"


def replace_record(client: Redis, data: str, before: str, writer: str) -> bytes:
    return client.eval(scripts.REPLACE, 1, "record", data, sha1(before.encode()).hexdigest(), writer)


def test_a_replacement_that_is_repeated_after_a_lost_answer_writes_again_and_changes_nothing(client):
    client.hset("record", "data", "old")
    assert replace_record(client, "new", "old", "ours") == b"OK"
    client.hset("record", "data", "saved since")
    before = writes(client)
    assert replace_record(client, "new", "old", "ours") == b"OK"
    assert writes(client) > before
    assert client.hget("record", "data") == b"saved since"


def test_a_replacement_of_what_is_no_longer_there_writes_nothing(client):
    assert replace_record(client, "new", "old", "ours") == b"MISSING"
    client.hset("record", "data", "old")
    replace_record(client, "new", "old", "theirs")
    before = writes(client)
    assert replace_record(client, "newer", "old", "ours") == b"CHANGED"
    assert writes(client) == before


def append_link(client: Redis, call: str, line: str, point: str, head: str, *key_ids: str) -> bytes:
    keys = ("links", "head", "start", f"call:{call}", "key")
    return client.eval(audit_scripts.APPEND, len(keys), *keys, line, point, head, 2, 30_000, *(key_ids or ("",)))


def test_a_link_that_is_appended_again_after_a_lost_answer_writes_again_and_is_there_once(client):
    lines = [f'{{"digest":"a{number}","entry":{{}},"sequence":{number}}}' for number in (1, 2, 3)]
    for number, head in ((1, ""), (2, "1:a1"), (3, "2:a2")):
        assert (
            append_link(client, f"c{number}", lines[number - 1], f"{number}:a{number}", head)
            == f"{number}:a{number}".encode()
        )
    before = writes(client)
    assert append_link(client, "c3", "other", "4:b4", "3:a3") == b"3:a3"  # where it is, not where it would be now
    assert writes(client) > before
    assert client.lrange("links", 0, -1) == [lines[2].encode(), lines[1].encode()]
    assert (client.get("head"), client.get("start")) == (b"3:a3", b"1:a1")


def test_a_link_after_a_head_that_has_gone_on_writes_nothing(client):
    assert append_link(client, "c1", "link", "1:a1", "") == b"1:a1"
    before = writes(client)
    assert append_link(client, "c2", "other", "1:b1", "") == b"CHANGED"
    assert writes(client) == before
    assert client.lrange("links", 0, -1) == [b"link"]


def test_a_link_of_a_key_that_the_log_does_not_know_writes_nothing(client):
    assert append_link(client, "c1", "link", "1:a1", "", "old") == b"1:a1"
    for key_ids in ((), ("other",), ("other", "older")):
        before = writes(client)
        assert append_link(client, "c2", "link", "2:a2", "1:a1", *key_ids) == b"KEY old"
        assert writes(client) == before
    assert append_link(client, "c2", "link", "2:a2", "1:a1", "new", "old") == b"2:a2"
    assert append_link(client, "c3", "link", "3:a3", "2:a2", "old") == b"KEY new"


def test_links_leave_only_as_they_were_archived_and_only_once(client):
    for number, head in ((1, ""), (2, "1:a1"), (3, "2:a2")):
        append_link(client, f"c{number}", f"link {number}", f"{number}:a{number}", head)
    client.delete("start")
    client.rpush("links", "link 1")  # three links, none dropped yet
    trim = (audit_scripts.TRIM, 3, "links", "head", "start")
    assert client.eval(*trim, "", 2, "link 3", "2:a2") == 0
    assert client.eval(*trim, "7:a7", 2, "link 2", "2:a2") == 0
    assert client.eval(*trim, "", 2, "link 2", "2:a2") == 1
    assert client.eval(*trim, "", 2, "link 2", "2:a2") == 0
    assert (client.lrange("links", 0, -1), client.get("start")) == ([b"link 3"], b"2:a2")


def test_an_answer_that_is_claimed_again_after_a_lost_answer_is_ours_still(client):
    keys, times = (scripts.CLAIM_ANSWER, 2, "answer:k", "keys:owner", "digest"), (60_000, 86_400_000)
    assert client.eval(*keys, "ours", *times, "act 1", 10) == [b"FIRST", b"act 1"]
    before = writes(client)
    assert client.eval(*keys, "ours", *times, "act 1", 10) == [b"FIRST", b"act 1"]
    assert writes(client) > before
    assert client.eval(*keys, "theirs", *times, "act 2", 10) == [b"HELD"]


def test_a_table_that_is_activated_again_after_a_lost_answer_writes_again_and_stays(client):
    staged = '{"revision": 1}'
    client.hset("staged", "churn", staged)
    values = ("churn", "active", sha1(staged.encode()).hexdigest(), "channel")
    assert client.eval(route_scripts.ACTIVATE, 2, "routes", "staged", *values) == b"OK"
    before = writes(client)
    assert client.eval(route_scripts.ACTIVATE, 2, "routes", "staged", *values) == b"OK"
    assert writes(client) > before
    assert client.hgetall("routes") == {b"churn": b"active"}


def test_a_call_that_is_recorded_again_after_a_lost_answer_writes_again_and_is_taken_in_once(client):
    keys = ("stream", "stream:waiting", "stream:call:c1")
    values = ("epoch", 1000, 1_000_000, 30_000, "predictions", 1, b"data")
    assert client.eval(stream_scripts.RECORD, len(keys), *keys, *values) == []
    before = writes(client)
    assert client.eval(stream_scripts.RECORD, len(keys), *keys, *values) == []
    assert writes(client) > before
    assert client.xlen("stream") == 1
