"""A simulated year of one busy model through the real stores: memory of Redis and disk must not grow for ever.

    .venv/bin/python tests/performance/bench_soak.py --days 365 --rows 3000

Each day has predictions every hour, labels that come up to ten days later, an analysis with its report and alert, the
records of processes, a week's retrain with a new version and its rollout, entries of the audit log, and the day's
pruning. Rows are kept for 60 days, training rows for 90, processes for 60 and versions for 8, so the first half of the
year fills everything that is ever full. The clock is simulated for the product and for the server: entries of the
stream are numbered by it, and what has a time to live grows older by a day at the end of each.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from redis import Redis

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.observations import RedisObservations
from optagent.adapters.state.redis import stream_scripts
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.audit import AuditEntry
from optagent.domain.dataset import FileSource
from optagent.domain.model import CHAMPION, ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.process import Process, Status
from optagent.domain.rollout import Rollout, advance, begin, promote
from optagent.domain.rollout_look import Look
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from optagent.ports import RecordKind
from optagent.training.bundle import save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named

MODEL = "busy"
START, DAY_S, HOURS = 1_700_006_400.0, 86_400.0, 24  # midnight
LATE_DAYS = 10
DRAIN_HOURS = 4
MONTH = 30
GROWTH = 1.15  # of the last month against the first of the second half
LOOKS = 60  # of a rollout
AUDIT_KEPT = 2000
KEPT = {"observations_kept": "60d", "training_rows_kept": "90d", "processes_kept": "60d", "versions_kept": 8}
SHORT = {"observations_kept": "5d", "training_rows_kept": "6d", "processes_kept": "5d", "versions_kept": 2}


@dataclass(frozen=True)
class Size:
    """What the stores hold at the end of a day."""

    day: int
    redis_mb: float
    keys: int
    files: int
    archive_mb: float
    manifest_kb: float
    versions_mb: float
    log_mb: float
    rows: int
    read_ms: float

    def __str__(self) -> str:
        redis = f"{self.day:5d} {self.redis_mb:8.2f} {self.keys:6d} {self.log_mb:8.1f}"
        archive = f"{self.files:6d} {self.archive_mb:10.2f} {self.manifest_kb:11.1f} {self.versions_mb:10.2f}"
        return f"{redis} {archive} {self.rows:9,d} {self.read_ms:8.1f}"


HEADER = "  day redis MB   keys   log MB  files archive MB manifest kB bundles MB      rows  read ms"


class Soak:
    """One busy model, and the stores that its year goes through."""

    def __init__(self, home: Path, server: EmbeddedRedis, rows_a_day: int, kept: dict[str, Any]) -> None:
        self.home, self.rows_a_day, self.kept = home, rows_a_day, kept
        self.clock = ManualClock(START)
        self.store = RedisStore(server.url, audit_kept=AUDIT_KEPT)
        self.observations = RedisObservations(server.url, home / "observations")
        self.registry = InMemoryRegistry(self.clock)
        self.client = Redis.from_url(server.url)
        self.rng = np.random.default_rng(0)
        self.agent: Any = None
        self.bundle = home / "bundle"

    async def open(self) -> None:
        self.agent = await create_optimization_agent(
            strict=True, home=self.home, clock=self.clock, store=self.store, registry=self.registry,
            tracker=InMemoryTracker(), observations=self.observations, tuner=SequentialTuner(),
            workers=SequentialWorkers(), **self.kept,
        )  # fmt: skip
        spec = ModelSpec(MODEL, Task.BINARY, FileSource("/rows.parquet"), "label", label_horizon=0.0)
        await self.store.save_model(spec)
        table = self._features(400).append_column("label", pa.array(self.rng.choice(["no", "yes"], 400)))
        schema = fit_schema(table, spec)
        data = load_data(table, schema)
        fit = family_named("linear").start({}, data, np.arange(len(data)))
        fit.advance(5)
        facts = {"model_id": MODEL, "task": Task.BINARY, "params": {}, "rounds": 5, "created_at": START, "data": {}}
        save_bundle(self.bundle, fit.model(), "linear", schema, facts)
        self._register()

    async def close(self) -> None:
        await self.agent.close()
        self.client.close()

    async def live_a_day(self, day: int) -> None:
        start = START + day * DAY_S
        for hour in range(HOURS):
            self._set_time(start + hour * 3600)
            await asyncio.to_thread(self._record_hour, start + hour * 3600, day)
        await asyncio.to_thread(self._store_training_rows, day)
        await self._analyze(day)
        if day % 7 == 6:
            await self._retrain(day)
        for number in range(20):
            await self.store.append_audit(
                AuditEntry(self.clock.now(), "ana", "model.read", MODEL, detail={"n": number})
            )
        prunings = await self.agent.prune_once_a_day()
        errors = [pruning.error for pruning in prunings if pruning.error]
        assert not errors, errors
        self._age_by_a_day()

    async def size(self, day: int) -> Size:
        memory = self.client.info("memory")["used_memory"] / 1e6
        files = list((self.home / "observations").rglob("*"))
        sizes = [path.stat().st_size for path in files if path.is_file()]
        manifest = max((self.home / "observations" / MODEL / "manifests").glob("*.json"))
        began = time.perf_counter()
        now = self.clock.now()
        self.observations.predictions(MODEL, now - 7 * DAY_S, now)
        self.observations.labels(MODEL, now - 7 * DAY_S)
        read_ms = 1000 * (time.perf_counter() - began)
        rows = sum(table.num_rows for table in self.observations.predictions(MODEL, 0.0, now))
        return Size(
            day, memory, self.client.dbsize(), sum(path.suffix == ".parquet" for path in files), sum(sizes) / 1e6,
            manifest.stat().st_size / 1e3, _folder_mb(Path(self.registry._folder)), _folder_mb(self.home / "redis"),
            rows, read_ms,
        )  # fmt: skip

    def _set_time(self, now: float) -> None:
        self.clock.advance(now - self.clock.now())
        stream_scripts.RECORD = RECORD.replace("'XADD', KEYS[1], '*'", f"'XADD', KEYS[1], '{round(now * 1000)}-*'")

    def _record_hour(self, now: float, day: int) -> None:
        count = self.rows_a_day // HOURS
        names = [f"{now:.0f}-{row}" for row in range(count)]
        answers = {"prediction": ["yes"] * count, "probability": self.rng.random(count)}
        rows = {"id": pa.array(names, pa.large_string()), "time": _times(np.full(count, now)), **answers}
        features = self._features(count)
        for name in features.schema.names:
            rows[name] = features[name]
        self.observations.record(MODEL, RecordKind.PREDICTIONS, pa.table(rows))
        if day % 7 < 3:
            evidence = pa.table({**rows, "rollout": [f"r-{day // 7}"] * count, "candidate_0": self.rng.random(count)})
            self.observations.record(MODEL, RecordKind.EVIDENCE, evidence)
        days_ago = self.rng.integers(0, min(day, LATE_DAYS) + 1, count // 2)
        labelled = [f"{now - DAY_S * ago:.0f}-{row}" for row, ago in enumerate(days_ago)]
        times = _times(now - DAY_S * days_ago + 60)
        labels = {"id": pa.array(labelled, pa.large_string()), "time": times, "label": ["yes"] * (count // 2)}
        self.observations.record(MODEL, RecordKind.LABELS, pa.table(labels))
        if now // 3600 % DRAIN_HOURS == 0:
            self.observations.drain(MODEL)

    def _store_training_rows(self, day: int) -> None:
        now = START + day * DAY_S
        rows = self._features(self.rows_a_day // 2)
        rows = rows.append_column("time", _times(np.full(rows.num_rows, now)))
        self.observations.save_matured(MODEL, time.strftime("%Y-%m-%d", time.gmtime(now)), rows)

    async def _analyze(self, day: int) -> None:
        now = self.clock.now()
        report = ModelReport(MODEL, "1", created_at=now, notes=("x" * 30_000,))
        await self.store.save_report(f"{MODEL}:{day}", f"{day}", report)
        alert = Alert(f"a-{day}", MODEL, AlertKind.DATA_DRIFT, Severity.WARNING, "drift", {}, now, now, resolved_at=now)
        await self.store.save_alerts([alert])
        for kind in ("analyze", "batch", "tune"):
            await self._end_process(f"{kind}-{day}", kind, 8_000)

    async def _retrain(self, day: int) -> None:
        await self._end_process(f"optimize-{day}", "optimize", 4_000)
        candidate = self._register(f"optimize-{day}")
        champion = self.registry.version(MODEL, CHAMPION).version
        rollout = begin(f"r-{day}", MODEL, champion, candidate, RolloutPolicy(), self.clock.now(), "ana")
        await self.store.create_rollout(rollout)
        for number in range(LOOKS):
            rollout = await self._save(_look(rollout, number, self.clock.now()), rollout)
        for _ in range(2):
            rollout = await self._save(promote(rollout, "ana", "", self.clock.now()), rollout)
        await self._save(replace(rollout, settled=len(rollout.transitions)), rollout)
        self.registry.set_alias(MODEL, CHAMPION, candidate)
        self.observations.save_reference(MODEL, candidate, self.rng.bytes(50_000))

    async def _save(self, rollout: Rollout, before: Rollout) -> Rollout:
        await self.store.save_rollout(rollout, before)
        return rollout

    async def _end_process(self, name: str, kind: str, size: int) -> None:
        now = self.clock.now()
        process = Process(name, kind, MODEL, Status.PENDING, now, now, command={"text": "x" * size})
        await self.store.create_process(process, 60)
        await self.store.save_process(replace(process, status=Status.SUCCEEDED, result={"text": "y" * size}))

    def _register(self, process_id: str = "") -> str:
        version = self.registry.register(MODEL, self.bundle, {}, {"process_id": process_id})
        if version.version == "1":
            self.registry.set_alias(MODEL, CHAMPION, "1")
        return version.version

    def _features(self, count: int) -> pa.Table:
        columns = {f"x{number}": self.rng.normal(size=count).round(3) for number in range(5)}
        return pa.table({**columns, "city": self.rng.choice(["Bern", "Oslo", "Rome"], count)})

    def _age_by_a_day(self) -> None:
        """Everything that has a time to live gets a day older."""
        for key in self.client.scan_iter(count=1000):
            left_ms = self.client.pttl(key)
            if left_ms > 0:
                self.client.pexpire(key, max(1, left_ms - round(DAY_S * 1000)))


RECORD = stream_scripts.RECORD


def _look(rollout: Rollout, number: int, now: float) -> Rollout:
    interval = Interval(0.0, -0.5, 0.5, alpha=rollout.policy.shadow_alpha)
    return advance(rollout, Look(f"look-{number}", now, rollout.state, rows=100 + number, improvement=interval), now)


def _times(seconds: Any) -> pa.Array:
    return pa.array((np.asarray(seconds) * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))


def _folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


async def run(home: Path, days: int, rows_a_day: int, kept: dict[str, Any], every: int = MONTH) -> list[Size]:
    """The sizes at the end of each `every` days."""
    sizes = []
    try:
        with EmbeddedRedis(home) as server:
            soak = Soak(home, server, rows_a_day, kept)
            await soak.open()
            for day in range(days):
                await soak.live_a_day(day)
                if day % every == every - 1:
                    sizes.append(await soak.size(day + 1))
                    print(sizes[-1], flush=True)
            await soak.close()
    finally:
        stream_scripts.RECORD = RECORD
    return sizes


def growth(sizes: list[Size]) -> dict[str, float]:
    """The sizes of the last quarter of a run against those of its third quarter, on average."""
    half = sizes[len(sizes) // 2 :]
    before, after = half[: len(half) // 2], half[len(half) // 2 :]

    def mean(part: list[Size], name: str) -> float:
        return float(np.mean([getattr(size, name) for size in part]))

    names = ("redis_mb", "keys", "files", "archive_mb", "manifest_kb", "versions_mb", "rows")
    return {name: mean(after, name) / mean(before, name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rows", type=int, default=3000, help="predictions a day")
    given = parser.parse_args()
    began = time.perf_counter()
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="optagent-soak-") as folder:
        sizes = asyncio.run(run(Path(folder), given.days, given.rows, KEPT))
    grown = growth(sizes)
    print("second half of the second half against the first:", ", ".join(f"{k} x{v:.3f}" for k, v in grown.items()))
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(int(max(grown.values()) > GROWTH))


if __name__ == "__main__":
    main()
