"""The queue and the archive when processes, the server and the disk fail."""

import os
import random
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from redis import Redis

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis, read_endpoint
from optagent.adapters.state.observations import RedisObservations
from optagent.errors import Unavailable
from optagent.ports import RecordKind

NOON = 1_700_049_600
PREDICTIONS = RecordKind.PREDICTIONS
DRAINER = """
import sys, time
from pathlib import Path
from optagent.adapters.state.observations import RedisObservations
observations = RedisObservations(sys.argv[1], Path(sys.argv[2]), claim_after_s=float(sys.argv[3]))
print("ready", flush=True)
while True:
    if not observations.drain("churn", most=int(sys.argv[4])):
        time.sleep(0.01)
"""

KILLER = """
import os, signal, sys, time
from pathlib import Path
from optagent.adapters.state.embedded.embedded_redis import read_endpoint
for _ in range(4):
    time.sleep(0.25)
    if (endpoint := read_endpoint(Path(sys.argv[1]))) is not None:
        os.kill(endpoint.pid, signal.SIGKILL)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@contextmanager
def connect(url: str, root: Path, **settings: float) -> Iterator[RedisObservations]:
    observations = RedisObservations(url, root, **settings)
    try:
        yield observations
    finally:
        observations.close()


@contextmanager
def draining(url: str, root: Path, claim_after_s: float = 0.2, most: int = 20_000) -> Iterator[subprocess.Popen[str]]:
    """A process that drains until it is killed."""
    command = [sys.executable, "-c", DRAINER, url, str(root), str(claim_after_s), str(most)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def rows(first: int, count: int) -> pa.Table:
    """Two days of them; the numbers are the ids."""
    numbers = np.arange(first, first + count)
    return pa.table(
        {
            "id": [str(number) for number in numbers],
            "time": pa.array((NOON + numbers % 86_400) * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "number": numbers,
            **{f"x{index}": np.random.default_rng(index).normal(size=count) for index in range(5)},
        }
    )


def numbers(observations: RedisObservations) -> list[int]:
    tables = observations.predictions("churn", float("-inf"), float("inf"))
    return sorted(int(number) for table in tables for number in table["number"].to_pylist())


def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_drainers_killed_at_any_moment_neither_lose_nor_double_a_row(server, archive):
    """Each time one of two processes that drain side by side."""
    random.seed(0)
    recorded, interrupted = 0, 0
    with connect(server.url, archive, claim_after_s=0.1) as observations:
        for _ in range(5):
            for _ in range(100):
                observations.record("churn", PREDICTIONS, rows(recorded, 600))
                recorded += 600
            with draining(server.url, archive, most=2000, claim_after_s=0.1) as victim:
                observations.drain("churn", most=5000)
                time.sleep(random.uniform(0, 0.1))
                os.kill(victim.pid, signal.SIGKILL)
                interrupted += observations.backlog("churn") > 0
        until(lambda: observations.drain("churn") >= 0 and observations.backlog("churn") == 0)
        assert interrupted
        assert numbers(observations) == list(range(recorded))


def test_a_drainer_that_stops_for_a_while_and_goes_on_doubles_nothing(server, archive):
    with connect(server.url, archive, claim_after_s=0.05) as observations:
        for first in range(0, 60_000, 1000):
            observations.record("churn", PREDICTIONS, rows(first, 1000))
        with draining(server.url, archive, claim_after_s=0.05, most=3000) as slow:
            for _ in range(4):
                time.sleep(0.03)
                os.kill(slow.pid, signal.SIGSTOP)
                time.sleep(0.1)
                observations.drain("churn", most=10_000)
                os.kill(slow.pid, signal.SIGCONT)
            until(lambda: observations.drain("churn") >= 0 and observations.backlog("churn") == 0)
        assert numbers(observations) == list(range(60_000))


def test_recorded_rows_survive_a_server_that_is_killed(server, archive):
    with connect(server.url, archive) as observations:
        recorded = 0
        for _ in range(3):
            for _ in range(20):
                observations.record("churn", PREDICTIONS, rows(recorded, 100))
                recorded += 100
            os.kill(endpoint_pid(server), signal.SIGKILL)
        assert observations.drain("churn") == recorded
        assert observations.backlog("churn") == 0
        assert numbers(observations) == list(range(recorded))


def test_a_call_repeated_after_a_lost_answer_is_recorded_once(server, archive):
    """The server is killed again and again under calls; each either succeeds or says that it did not."""
    killer = subprocess.Popen([sys.executable, "-c", KILLER, str(server.folder)])
    with connect(server.url, archive) as observations:
        recorded = 0
        while killer.poll() is None:
            observations.record("churn", PREDICTIONS, rows(recorded, 10))
            recorded += 10
        observations.drain("churn", most=10_000_000)
        assert numbers(observations) == list(range(recorded))


def endpoint_pid(server: EmbeddedRedis) -> int:
    until(lambda: (found := read_endpoint(server.folder)) is not None and psutil.pid_exists(found.pid))
    endpoint = read_endpoint(server.folder)
    assert endpoint is not None
    return endpoint.pid


def queue_verbs(observations: RedisObservations) -> list[Callable[[], object]]:
    return [
        observations.check,
        lambda: observations.record("churn", PREDICTIONS, rows(0, 10)),
        lambda: observations.backlog("churn"),
        lambda: observations.drain("churn"),
    ]


def assert_unavailable_within_5_s(observations: RedisObservations, address: str) -> None:
    def taken_s(verb: Callable[[], object]) -> float:
        started = time.monotonic()
        with pytest.raises(Unavailable, match=address):
            verb()
        return time.monotonic() - started

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(taken_s, queue_verbs(observations))) < 5


def test_every_verb_of_the_queue_names_a_server_that_is_not_there(archive):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with connect(f"redis://:sesame123@127.0.0.1:{port}/0", archive) as observations:
        started = time.monotonic()
        with pytest.raises(Unavailable, match=str(port)) as refused:
            observations.record("churn", PREDICTIONS, rows(0, 10))
        assert time.monotonic() - started < 5
        assert "sesame123" not in str(refused.value)
        assert observations.predictions("churn", 0, float("inf")) == []


def test_no_verb_hangs_on_a_server_that_hangs_and_all_recover(server, archive):
    with connect(server.url, archive) as observations:
        observations.record("churn", PREDICTIONS, rows(0, 10))
        os.kill(server.endpoint.pid, signal.SIGSTOP)
        try:
            assert_unavailable_within_5_s(observations, f"127.0.0.1:{server.endpoint.port}")
        finally:
            os.kill(server.endpoint.pid, signal.SIGCONT)
        observations.check()
        until(lambda: observations.drain("churn") >= 0 and observations.backlog("churn") == 0)
        assert set(numbers(observations)) == set(range(10))  # an unanswered call may have been taken in all the same


def test_a_refused_password_is_said_at_once(server, archive):
    with connect(f"redis://:sesame123@127.0.0.1:{server.endpoint.port}/0", archive) as observations:
        started = time.monotonic()
        with pytest.raises(Unavailable, match="password"):
            observations.check()
        assert time.monotonic() - started < 2


def test_a_disk_that_is_full_leaves_the_rows_in_the_queue(server, archive):
    """Files of this process may not grow beyond 2 kB for a while, which fails in the middle of a file."""
    with connect(server.url, archive) as observations:
        observations.record("churn", PREDICTIONS, rows(0, 5000))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(Unavailable, match=str(archive)):
                observations.drain("churn")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert observations.backlog("churn") == 5000
        assert numbers(observations) == []
        assert not list(archive.rglob("*.parquet"))
        assert observations.drain("churn") == 5000
        assert numbers(observations) == list(range(5000))


def test_an_archive_that_cannot_be_a_folder_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with connect(server.url, tmp_path / "file" / "archive") as observations:
        observations.record("churn", PREDICTIONS, rows(0, 10))
        for verb in (observations.check, lambda: observations.drain("churn"), lambda: numbers(observations)):
            with pytest.raises(Unavailable, match="file/archive"):
                verb()
        assert observations.backlog("churn") == 10


def test_what_is_no_table_is_set_aside_and_does_not_block_the_queue(server, archive):
    admin = Redis.from_url(server.url)
    with connect(server.url, archive) as observations:
        observations.record("churn", PREDICTIONS, rows(0, 10))
        admin.xadd("optagent:observations:churn", {"kind": "predictions", "rows": "7", "data": b"\xff no table"})
        admin.xadd("optagent:observations:churn", {"something": "else"})
        observations.record("churn", PREDICTIONS, rows(10, 10))
        assert observations.drain("churn") == 20
        assert observations.backlog("churn") == 0
        assert numbers(observations) == list(range(20))
        kept = sorted(path.read_bytes() for path in (archive / "churn" / "unreadable").iterdir())
        assert kept == [b"", b"\xff no table"]
    admin.close()


def test_memory_of_the_server_is_given_back(server, archive):
    admin = Redis.from_url(server.url)
    with connect(server.url, archive) as observations:
        before = admin.info("memory")["used_memory"]
        for first in range(0, 300_000, 10_000):
            observations.record("churn", PREDICTIONS, rows(first, 10_000))
        assert admin.info("memory")["used_memory"] - before > 10_000_000
        observations.drain("churn")
        assert admin.info("memory")["used_memory"] - before < 2_000_000
        assert admin.xlen("optagent:observations:churn") == 0
    admin.close()


def test_a_queue_that_was_emptied_by_hand_starts_anew(server, archive):
    admin = Redis.from_url(server.url)
    with connect(server.url, archive) as observations:
        observations.record("churn", PREDICTIONS, rows(0, 10))
        observations.drain("churn")
        observations.record("churn", PREDICTIONS, rows(10, 10))
        admin.flushdb()
        assert observations.backlog("churn") == 0
        observations.record("churn", PREDICTIONS, rows(20, 10))
        assert observations.drain("churn") == 10
        assert numbers(observations) == [*range(10), *range(20, 30)]
    admin.close()


def test_a_server_without_append_only_file_is_used_as_it_is(server, archive):
    admin = Redis.from_url(server.url)
    admin.config_set("appendonly", "no")
    with connect(server.url, archive) as observations:
        observations.record("churn", PREDICTIONS, rows(0, 10))
        assert observations.drain("churn") == 10
    admin.close()


def test_consumers_that_left_are_forgotten(server, archive):
    admin = Redis.from_url(server.url)
    for _ in range(3):
        with connect(server.url, archive) as observations:
            observations.record("churn", PREDICTIONS, rows(0, 10))
            observations.drain("churn")
    assert admin.xinfo_consumers("optagent:observations:churn", "archive") == []
    admin.close()


def test_prefixes_keep_users_of_one_server_apart(server, archive, tmp_path):
    prefix = secrets.token_hex(4)
    with connect(server.url, archive) as ours, connect(server.url, tmp_path / "b", prefix=prefix) as theirs:
        ours.record("churn", PREDICTIONS, rows(0, 10))
        assert theirs.drain("churn") == 0
        assert ours.drain("churn") == 10
