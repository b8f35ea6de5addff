"""What the loop is worth on a history that changes, and what it costs to find out.

    .venv/bin/python tests/performance/bench_loop.py --elec2 elec2.csv.gz

(a) The New South Wales electricity market (Harries 1999; 45,312 half hours, 1996-98, as MOA carries it), replayed from
its first fifth on with labels that come a day late: prequential AUC of doing nothing, of LightGBM trained again by the
calendar on the newest days, of the same when ADWIN sees its errors change, of river's adaptive random forest, and of
policies of the loop. Features are those of scikit-multiflow's copy, without the price that the label is made of. The
file is read where it is; without one this part is left out.

(b) A year of half-hourly rows with two changes under three policies: wall time, and the same twice.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.cluster.ray_workers import RayWorkers
from optagent.bootstrap.backtest import compared
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender, contender_named
from optagent.domain.model import ModelSpec
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger
from optagent.ports import Workers
from optagent.training.metrics import METRICS

A_DAY = 48
FEATURES = ("day", "period", "nswdemand", "vicprice", "vicdemand", "transfer")
SCHEDULE = RetrainingPolicy(
    (Trigger.SCHEDULE, Trigger.CONCEPT_DRIFT),
    Action.FULL,
    "aggressive",
    OptimizationType.RETRAIN,
    every="10d",
    cooldown="5d",
    most_a_year=73,
    window="sliding",
    gates={"beats_champion": "not_worse", "margin": 0.05},
)
POLICIES = (
    contender_named("scheduled-ungated:30d"),
    Contender("10d + drift, 90d", dataclasses.replace(SCHEDULE, window="90d")),
    Contender("10d + drift, sliding", SCHEDULE),
    Contender("10d + drift, auto", dataclasses.replace(SCHEDULE, window="auto")),
    contender_named("balanced"),
)


@dataclasses.dataclass
class Stream:
    """Rows in time order and where answering starts; a label is known `delay` rows after its row."""

    x: np.ndarray
    y: np.ndarray
    start: int
    delay: int = A_DAY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elec2", type=Path, help="the file; a CSV with a column `class` of UP and DOWN")
    parser.add_argument("--days", type=int, default=10_000, help="of elec2: the first so many")
    parser.add_argument("--no-river", action="store_true", help="leave out river, which takes some minutes")
    parser.add_argument("--only", choices=("a", "b"))
    given = parser.parse_args()
    cluster = RayCluster()
    cluster.connect()
    try:
        if given.elec2 is not None and given.only != "b":
            electricity(given.elec2, given.days, RayWorkers(cluster), not given.no_river)
        if given.only != "a":
            year(RayWorkers(cluster))
    finally:
        cluster.close()


def electricity(path: Path, days: int, workers: Workers, river: bool) -> None:
    rows = pacsv.read_csv(path).slice(0, days * A_DAY)
    x = np.column_stack([rows.column(name).to_numpy().astype(np.float64) for name in FEATURES])
    y = (rows.column("class").to_numpy(zero_copy_only=False) == "UP").astype(np.float64)
    start = int(len(y) * 0.2) // A_DAY * A_DAY
    stream = Stream(x, y, start)
    print(f"(a) elec2: {len(y) - start:,} rows answered, labels {stream.delay // A_DAY} day late, AUC")
    print(f"{'':38s}{'AUC':>8s}{'trained':>9s}{'promoted':>9s}{'seconds':>9s}", flush=True)
    tried("LightGBM, never again", lambda: by_calendar(stream, None, 10_000))
    for every, back in ((1, 30), (1, 90), (10, 30), (10, 90), (30, 30)):
        tried(f"LightGBM, each {every} d on {back} d", lambda every=every, back=back: by_calendar(stream, every, back))  # type: ignore[misc]
    if river:
        tried("LightGBM on 30 d when ADWIN alarms", lambda: by_adwin(stream, 30))
        tried("river: adaptive random forest", lambda: forest(stream))
    began = time.perf_counter()
    found = compared(market(), table_of(x, y), BacktestAsk(POLICIES, "1d", start=start_of(start)), workers)
    for run in found.runs:
        counted = run.counted
        row(f"loop: {run.name}", run.metric or np.nan, counted.retrains, counted.promoted, counted.compute_s)
    print(f"the loop's policies together: {time.perf_counter() - began:.0f} s of wall time")
    print(f"recommended: {found.recommended}: {found.confidence_in_words}\n", flush=True)


def market() -> ModelSpec:
    return model_from(
        {
            "id": "elec2",
            "task": "binary",
            "data": "elec2.csv.gz",
            "target": "class",
            "time_column": "at",
            "families": ["lightgbm"],
            "holdout_fraction": 0.05,
            "monitoring": {"performance_window_hours": 168},
        }
    )


def table_of(x: np.ndarray, y: np.ndarray) -> pa.Table:
    at = np.datetime64("1996-05-07", "s") + (np.arange(len(y)) * (86_400 // A_DAY)).astype("timedelta64[s]")
    columns = {name: x[:, place] for place, name in enumerate(FEATURES)}
    return pa.table({"at": at, **columns, "class": y.astype(np.int64)})


def start_of(place: int) -> str:
    return str(np.datetime64("1996-05-07", "s") + np.timedelta64(place * (86_400 // A_DAY), "s"))


def tried(name: str, method: Callable[[], tuple[float, int]]) -> None:
    began = time.process_time()
    score, trained = method()
    row(name, score, trained, trained, time.process_time() - began)


def row(name: str, score: float, trained: int, promoted: int, seconds: float) -> None:
    print(f"{name:38s}{score:8.4f}{trained:9d}{promoted:9d}{seconds:9.1f}", flush=True)


def fitted(stream: Stream, first: int, end: int) -> lgb.LGBMClassifier:
    made = lgb.LGBMClassifier(verbose=-1, num_threads=1, random_state=0)
    return made.fit(stream.x[max(0, first) : end], stream.y[max(0, first) : end])


def auc(stream: Stream, answers: np.ndarray) -> float:
    return METRICS["auc"].score(stream.y[stream.start :], answers[stream.start :])


def by_calendar(stream: Stream, every: int | None, back: int) -> tuple[float, int]:
    """LightGBM as it comes, trained again every so many days on the newest labelled ones."""
    answers, trained, last, model = np.full(len(stream.y), np.nan), 0, 0, None
    for place in range(stream.start, len(stream.y), A_DAY):
        if model is None or (every is not None and place - last >= every * A_DAY):
            end = place - stream.delay
            model = fitted(stream, 0 if every is None else end - back * A_DAY, end)
            trained, last = trained + 1, place
        rows = slice(place, place + A_DAY)
        answers[rows] = model.predict_proba(stream.x[rows])[:, 1]
    return auc(stream, answers), trained


def by_adwin(stream: Stream, back: int) -> tuple[float, int]:
    """The same, trained again on the day on which ADWIN finds that the errors have changed."""
    from river.drift import ADWIN

    answers, trained = np.full(len(stream.y), np.nan), 1
    model, detector = fitted(stream, 0, stream.start - stream.delay), ADWIN()
    for place in range(stream.start, len(stream.y), A_DAY):
        alarm = False
        for known in range(max(stream.start, place - stream.delay - A_DAY), max(stream.start, place - stream.delay)):
            detector.update(float((answers[known] >= 0.5) != stream.y[known]))
            alarm |= detector.drift_detected
        if alarm:
            end = place - stream.delay
            model, detector, trained = fitted(stream, end - back * A_DAY, end), ADWIN(), trained + 1
        rows = slice(place, place + A_DAY)
        answers[rows] = model.predict_proba(stream.x[rows])[:, 1]
    return auc(stream, answers), trained


def forest(stream: Stream) -> tuple[float, int]:
    """Learns from each row when its label comes."""
    from river.forest import ARFClassifier

    model, answers = ARFClassifier(seed=0), np.full(len(stream.y), np.nan)
    asked = [dict(zip(FEATURES, values, strict=True)) for values in stream.x.tolist()]
    for place in range(len(stream.y)):
        if place >= stream.start:
            answers[place] = model.predict_proba_one(asked[place]).get(1, 0.0)
        if place >= stream.delay:
            model.learn_one(asked[place - stream.delay], int(stream.y[place - stream.delay]))
    return auc(stream, answers), 0


def year(workers: Workers) -> None:
    ask = BacktestAsk(tuple(contender_named(name) for name in ("conservative", "balanced", "aggressive")), "2d")
    taken, found = [], []
    for _ in range(2):
        began = time.perf_counter()
        found.append(compared(half_hours(), changing(365), ask, workers))
        taken.append(time.perf_counter() - began)
    result = found[0]
    print(f"(b) a year of half hours, {result.rows:,} rows replayed under {len(result.runs)} policies")
    print(f"{'':38s}{'AUC':>8s}{'trained':>9s}{'promoted':>9s}{'seconds':>9s}")
    for run in result.runs:
        counted = run.counted
        row(run.name, run.metric or np.nan, counted.retrains, counted.promoted, counted.compute_s)
    print(f"recommended: {result.recommended}: {result.confidence_in_words}")
    same = "the same twice" if timeless(found[0]) == timeless(found[1]) else "NOT THE SAME TWICE"
    print(f"wall time {' and '.join(f'{one:.0f} s' for one in taken)}; {same}")


def half_hours() -> ModelSpec:
    return model_from(
        {
            "id": "year",
            "task": "binary",
            "data": "year.parquet",
            "target": "label",
            "time_column": "at",
            "families": ["lightgbm"],
            "holdout_fraction": 0.1,
            "monitoring": {"performance_window_hours": 48},
        }
    )


def changing(days: int) -> pa.Table:
    """After 150 days the effect of `a` changes its sign, after 260 `b` moves."""
    rng = np.random.default_rng(0)
    count = days * A_DAY
    day = np.arange(count) // A_DAY
    a, b, c = rng.normal(size=(3, count))
    b = b + np.where(day >= 260, 1.0, 0.0)
    region = rng.choice(["north", "south", "east"], count)
    signal = np.where(day >= 150, -1.5, 1.5) * a + b - 0.5 * b * b + (region == "south") + rng.normal(size=count)
    at = np.datetime64("2024-01-01", "s") + (np.arange(count) * (86_400 // A_DAY)).astype("timedelta64[s]")
    return pa.table({"at": at, "a": a, "b": b, "c": c, "region": region, "label": np.where(signal > 0, "yes", "no")})


def timeless(result: BacktestResult) -> Any:
    """All but the seconds that runs took."""
    return [
        dataclasses.replace(
            run,
            counted=dataclasses.replace(run.counted, compute_s=0.0),
            runs=tuple(dataclasses.replace(one, compute_s=0.0) for one in run.runs),
        )
        for run in result.runs
    ], result.standings


if __name__ == "__main__":
    main()
