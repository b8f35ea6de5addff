"""Predictions a second, end to end: recorded through Redis, archived by the real monitor actor, which is killed.

Run as `python tests/performance/bench_monitor_actor.py [--rows 500000]`. The actor's process is killed (SIGKILL) five
times on the way and started again by Ray; then every row must be in the archive once.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.cluster.ray_monitors import RayMonitors
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.observations import RedisObservations
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.errors import Busy
from optagent.loop.observe.monitor import MonitorPass, watch_once
from optagent.ports import RecordKind

FEATURES = 20
KILLS = 5
TARGET = 20_000
MODEL = "churn"


class SmallAgent:
    """Drains as the agent does; its analysis is an empty report, since it is the way in that is measured."""

    def __init__(self, url: str, root: Path) -> None:
        self._observations = RedisObservations(url, root, claim_after_s=0.5)
        self._store = RedisStore(url)

    async def drain(self, model_id: str) -> int:
        return await asyncio.to_thread(self._observations.drain, model_id)

    async def watch_once(self, model_id: str) -> MonitorPass:
        async def analyze(window: Window) -> ModelReport:
            return ModelReport(model_id, window=window)

        spec = ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target")
        return await watch_once(spec, analyze, self._observations, self._store, Monitoring(), time.time())

    async def close(self) -> None:
        await asyncio.to_thread(self._observations.close)
        await self._store.close()


async def small_agent(url: str, root: Path) -> SmallAgent:
    return SmallAgent(url, root)


class Killer(threading.Thread):
    """Kills the process of shard 0 at random moments, each time once it has archived something.

    Ends when it has come back for the last time; `comeback_s` is from each kill until the new process has emptied the
    queue for the first time.
    """

    def __init__(self, monitors: RayMonitors) -> None:
        super().__init__(daemon=True)
        self._monitors = monitors
        self._moment = random.Random(0)
        self.comeback_s: list[float] = []
        self.start()

    def run(self) -> None:
        killed = self._kill(None)
        for left in reversed(range(KILLS)):
            since = time.perf_counter()
            while (pid := self._archiving(killed)) is None:
                time.sleep(0.05)
            self.comeback_s.append(time.perf_counter() - since)
            if left:
                killed = self._kill(pid)

    def _kill(self, pid: int | None) -> int:
        while pid is None:
            pid = self._archiving(None)
        time.sleep(self._moment.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGKILL)
        return pid

    def _archiving(self, killed: int | None) -> int | None:
        state = self._monitors.running()[0]
        return state.pid if state.alive and state.drained and state.pid != killed else None


@dataclass(frozen=True)
class Outcome:
    rows: int
    shards: int
    recorded_a_second: float
    end_to_end_a_second: float
    refused: int
    lost: int
    double: int
    comeback_s: float

    def row(self) -> str:
        return (
            f"| {self.shards} | {self.rows:,} | {self.recorded_a_second:,.0f} | {self.end_to_end_a_second:,.0f} "
            f"| {KILLS} | {self.comeback_s:.1f} | {self.refused} | {self.lost} | {self.double} |"
        )


def batch(first: int, count: int) -> pa.Table:
    rng = np.random.default_rng(first)
    numbers = np.arange(first, first + count)
    return pa.table(
        {
            "id": numbers.astype("U"),
            "time": pa.array(1_700_000_000_000_000 + numbers * 1000).cast(pa.timestamp("us", "UTC")),
            "prediction": rng.choice(["yes", "no"], count),
            "probability": rng.random(count),
            "latency_ms": rng.gamma(2.0, 1.5, count),
            **{f"feature_{index}": rng.normal(size=count) for index in range(FEATURES)},
        }
    )


def record(observations: RedisObservations, first: int, size: int) -> int:
    """Answers how often it had to wait for the actor."""
    rows, refused = batch(first, size), 0
    while True:
        try:
            observations.record(MODEL, RecordKind.PREDICTIONS, rows)
            return refused
        except Busy:
            refused += 1
            time.sleep(0.05)


def run(cluster: RayCluster, folder: Path, least: int, size: int, shards: int) -> Outcome:
    """Records for as long as the killer is at work.

    The rate is of the whole: from the first call to the last row in the archive, the making of rows and five restarts
    included.
    """
    archive, recorded, refused = folder / "archive", 0, 0
    with EmbeddedRedis(folder) as server:
        observations = RedisObservations(server.url, archive)
        monitors = RayMonitors(cluster, partial(small_agent, server.url, archive))
        monitors.start(MODEL, shards)
        killer, started = Killer(monitors), time.perf_counter()
        while recorded < least or killer.is_alive():
            refused += record(observations, recorded, size)
            recorded += size
        recorded_s = time.perf_counter() - started
        while observations.backlog(MODEL):
            time.sleep(0.02)
        total_s = time.perf_counter() - started
        monitors.stop(MODEL)
        tables = observations.predictions(MODEL, float("-inf"), float("inf"))
        observations.close()
    ids = pa.chunked_array([chunk for table in tables for chunk in table["id"].chunks], pa.large_string())
    distinct = len(pc.unique(ids))
    return Outcome(
        rows=recorded,
        shards=shards,
        recorded_a_second=recorded / recorded_s,
        end_to_end_a_second=recorded / total_s,
        refused=refused,
        lost=recorded - distinct,
        double=len(ids) - distinct,
        comeback_s=max(killer.comeback_s),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000, help="at least")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    cluster = RayCluster(num_cpus=2)
    cluster.connect()
    outcomes = []
    for shards in options.shards:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            outcomes.append(run(cluster, Path(folder), options.rows, options.batch, shards))
    cluster.close()
    print(f"{FEATURES} features, calls of {options.batch:,} rows, {os.cpu_count()} cores\n")
    print("| actors | rows | recorded, 1/s | end to end, 1/s | kills | slowest comeback, s | busy | lost | double |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for outcome in outcomes:
        print(outcome.row())
    if any(outcome.lost or outcome.double for outcome in outcomes):
        sys.exit("rows were lost or doubled")
    if any(outcome.end_to_end_a_second < TARGET for outcome in outcomes):
        sys.exit(f"below {TARGET:,} rows a second")


if __name__ == "__main__":
    main()
