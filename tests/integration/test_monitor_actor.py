"""Monitors, as Ray actors and in this process, over a real queue and archive; the actors' processes are killed."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from optagent.adapters.cluster.ray_monitors import RayMonitors
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.observations import RedisObservations
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, MonitorState, Window
from optagent.errors import InvalidRequest, Unavailable
from optagent.loop.observe.monitor import MonitorPass, watch_once
from optagent.ports import RecordKind
from tests.fakes.monitors import InMemoryMonitors

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module

NOON = 1_700_049_600
DAY = 86_400


class SmallAgent:
    """The verbs of an agent that a monitor calls, with an analysis that always finds the same."""

    def __init__(self, url: str, root: Path) -> None:
        self._observations = RedisObservations(url, root, claim_after_s=0.2)
        self._store = RedisStore(url)

    async def drain(self, model_id: str) -> int:
        return await asyncio.to_thread(self._observations.drain, model_id)

    async def watch_once(self, model_id: str) -> MonitorPass:
        async def analyze(window: Window) -> ModelReport:
            drop = Finding(AlertKind.PERFORMANCE, Severity.WARNING, f"{os.getpid()}")
            return ModelReport(model_id, window=window, findings=(drop,))

        spec = ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target")
        return await watch_once(spec, analyze, self._observations, self._store, Monitoring(), NOON + 2 * DAY)

    async def close(self) -> None:
        await asyncio.to_thread(self._observations.close)
        await self._store.close()


async def small_agent(url: str, root: Path) -> SmallAgent:
    return SmallAgent(url, root)


async def no_agent(flag: Path, url: str, root: Path) -> SmallAgent:
    if not flag.exists():
        raise Unavailable("Redis is away")
    return SmallAgent(url, root)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


Monitors = InMemoryMonitors | RayMonitors


@pytest.fixture(params=["in_memory", "ray"])
def either(request: pytest.FixtureRequest, server: EmbeddedRedis, tmp_path: Path) -> Iterator[Monitors]:
    if request.param == "ray":
        yield request.getfixturevalue("monitors")
        return
    made = InMemoryMonitors(partial(small_agent, server.url, tmp_path / "archive"), check_every_s=0.2)
    yield made
    made.close()


@pytest.fixture
def monitors(ray_cluster: Any, server: EmbeddedRedis, tmp_path: Path) -> Iterator[RayMonitors]:
    made = RayMonitors(ray_cluster, partial(small_agent, server.url, tmp_path / "archive"), check_every_s=0.2)
    yield made
    for state in made.running():
        made.stop(state.model_id)


@pytest.fixture
def observations(server: EmbeddedRedis, tmp_path: Path) -> Iterator[RedisObservations]:
    made = RedisObservations(server.url, tmp_path / "archive")
    yield made
    made.close()


def rows(first: int, count: int) -> pa.Table:
    """Of two days; the numbers are the ids."""
    numbers = np.arange(first, first + count)
    times = pa.array((NOON + numbers % DAY) * 1_000_000).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": [str(number) for number in numbers], "time": times, "number": numbers})


def archived_numbers(observations: RedisObservations) -> list[int]:
    tables = observations.predictions("churn", float("-inf"), float("inf"))
    return sorted(int(number) for table in tables for number in table["number"].to_pylist())


def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def the_state(monitors: Monitors) -> MonitorState:
    [state] = monitors.running()
    return state


def test_a_killed_monitor_comes_back_and_neither_loses_nor_doubles_a_row(monitors, observations):
    random.seed(0)
    recorded, pids = 0, set()
    for _ in range(3):
        monitors.start("churn")  # waits for one that is coming back
        pid = the_state(monitors).pid
        pids.add(pid)
        for _ in range(30):
            observations.record("churn", RecordKind.PREDICTIONS, rows(recorded, 500))
            recorded += 500
        time.sleep(random.uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
    until(lambda: observations.backlog("churn") == 0)
    assert archived_numbers(observations) == list(range(recorded))
    until(lambda: the_state(monitors).alive)
    assert len(pids | {the_state(monitors).pid}) == 4
    os.kill(the_state(monitors).pid, signal.SIGKILL)
    monitors.stop("churn")
    assert monitors.running() == []


async def test_a_window_is_looked_at_once_whatever_happens_to_its_monitor(monitors, observations, server):
    observations.record("churn", RecordKind.PREDICTIONS, rows(0, 100))
    monitors.start("churn")
    until(lambda: the_state(monitors).last_report is not None)
    os.kill(the_state(monitors).pid, signal.SIGKILL)
    until(lambda: the_state(monitors).alive and the_state(monitors).last_drain is not None)
    await asyncio.sleep(0.5)
    assert the_state(monitors).error is None
    store = RedisStore(server.url)
    [alert] = await store.alerts("churn")
    assert alert.first_seen == alert.last_seen == NOON + 2 * DAY
    assert alert.message != str(the_state(monitors).pid)
    assert the_state(monitors).last_report is None
    await store.close()


def test_starting_what_runs_changes_nothing_and_a_stopped_one_starts_anew(either, observations):
    either.start("churn")
    first = the_state(either)
    either.start("churn")
    assert (the_state(either).pid, the_state(either).since) == (first.pid, first.since)
    either.stop("churn")
    either.stop("churn")
    assert either.running() == []
    observations.record("churn", RecordKind.PREDICTIONS, rows(0, 100))
    either.start("churn")
    until(lambda: the_state(either).drained == 100)
    assert the_state(either).since > first.since


def test_shards_share_the_rows_and_only_the_first_one_analyzes(either, observations):
    either.start("churn", shards=2)
    for first in range(0, 20_000, 500):
        observations.record("churn", RecordKind.PREDICTIONS, rows(first, 500))
    until(lambda: observations.backlog("churn") == 0)
    assert archived_numbers(observations) == list(range(20_000))
    until(lambda: either.running()[0].last_report is not None)
    one, two = either.running()
    assert (one.model_id, one.shard, two.model_id, two.shard) == ("churn", 0, "churn", 1)
    assert two.last_report is None
    either.start("churn", shards=1)
    assert [state.shard for state in either.running()] == [0]
    with pytest.raises(InvalidRequest, match="shards"):
        either.start("churn", shards=0)


def test_models_are_watched_and_stopped_one_by_one(either):
    for model_id in ("b.c", "b"):
        either.start(model_id)
    assert [state.model_id for state in either.running()] == ["b", "b.c"]
    either.stop("b")
    assert [state.model_id for state in either.running()] == ["b.c"]


def test_actors_leave_the_cores_free(monitors):
    monitors.start("churn", shards=2)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]


def test_a_monitor_that_cannot_reach_its_store_says_so_and_starts_once_it_can(
    monitors, observations, ray_cluster, server, tmp_path
):
    flag = tmp_path / "flag"
    late = RayMonitors(ray_cluster, partial(no_agent, flag, server.url, tmp_path / "archive"))
    late.start("churn")
    until(lambda: the_state(late).error is not None)
    assert the_state(late).error == "Redis is away"
    flag.touch()
    observations.record("churn", RecordKind.PREDICTIONS, rows(0, 100))
    until(lambda: the_state(late).drained == 100)
    assert the_state(late).error is None
