"""Recorded predictions, end to end: into the Redis stream and out of it into Parquet, by a process that is killed.

Run as `python tests/performance/bench_ingest.py [--rows 500000]`. It starts an embedded server of its own. The draining
process is killed (SIGKILL) five times on the way and started again; then every row must be in the archive once.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.observations import RedisObservations
from optagent.errors import Busy
from optagent.ports import RecordKind

FEATURES = 20
KILLS = 5
TARGET = 20_000
DRAINER = """
import sys, time
from pathlib import Path
from optagent.adapters.state.observations import RedisObservations
observations = RedisObservations(sys.argv[1], Path(sys.argv[2]), prefix=sys.argv[3], claim_after_s=0.5)
while True:
    observations.drain("model", most=50_000)
    print("drained", flush=True)
    time.sleep(0.1)
"""


def batch(first: int, count: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
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


class Drainer(threading.Thread):
    """Drains every 0.1 s in a process of its own, which is killed at random moments and started again."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(daemon=True)
        self._command = [sys.executable, "-c", DRAINER, *arguments]
        self._moment = random.Random(0)
        self.start()

    def run(self) -> None:
        for _ in range(KILLS):
            with self._spawned() as process:
                process.stdout.readline()
                time.sleep(self._moment.uniform(0.0, 0.3))
                os.kill(process.pid, signal.SIGKILL)
        self._final = self._spawned()

    def stop(self) -> None:
        self.join()
        with self._final as process:
            process.kill()

    def _spawned(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)


def run(server: EmbeddedRedis, root: Path, rows: int, size: int) -> dict[str, float]:
    """Seconds are of the whole: from the first call to the last row in the archive, restarts included."""
    prefix = f"bench-{size}"
    observations = RedisObservations(server.url, root, prefix=prefix)
    batches = [batch(first, size, first) for first in range(0, rows, size)]
    drainer = Drainer(server.url, str(root), prefix)
    recorded_s, refused, started = 0.0, 0, time.perf_counter()
    for one in batches:
        before = time.perf_counter()
        while True:
            try:
                observations.record("model", RecordKind.PREDICTIONS, one)
                break
            except Busy:
                refused += 1
                time.sleep(0.05)
        recorded_s += time.perf_counter() - before
    while drainer.is_alive() or observations.backlog("model"):
        time.sleep(0.02)
    total_s = time.perf_counter() - started
    drainer.stop()
    started = time.perf_counter()
    tables = observations.predictions("model", float("-inf"), float("inf"))
    read_s = time.perf_counter() - started
    ids = pa.chunked_array([chunk for table in tables for chunk in table["id"].chunks], pa.large_string())
    observations.close()
    distinct = len(pc.unique(ids))
    return {
        "batch": size,
        "rows": rows,
        "record": rows / recorded_s,
        "end_to_end": rows / total_s,
        "read_s": read_s,
        "refused": refused,
        "lost": rows - distinct,
        "double": len(ids) - distinct,
        "files": len(list((root / "model").rglob("*.parquet"))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    results = []
    for size in options.batches:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            EmbeddedRedis(Path(folder)) as server,
        ):
            results.append(run(server, Path(folder) / "archive", options.rows // size * size, size))
    if options.json:
        print(json.dumps(results))
    else:
        print(f"{FEATURES} features, {os.cpu_count()} cores, the draining process killed {KILLS} times on the way\n")
        print("| batch | rows | recorded a second | end to end a second | lost | double | refused | files | read, s |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for of in results:
            print(
                f"| {of['batch']:,} | {of['rows']:,} | {of['record']:,.0f} | {of['end_to_end']:,.0f} | {of['lost']} "
                f"| {of['double']} | {of['refused']} | {of['files']} | {of['read_s']:.2f} |"
            )
    if any(of["lost"] or of["double"] for of in results):
        sys.exit("rows were lost or doubled")
    if any(of["end_to_end"] < TARGET for of in results):
        sys.exit(f"below {TARGET:,} rows a second")


if __name__ == "__main__":
    main()
