"""Cost of a replay's looks: the seconds of a step on which nothing happens, and those of the whole replay.

    PYTHONPATH=. OMP_NUM_THREADS=1 .venv/bin/python tests/performance/bench_replay.py --rows-a-day 10

Years of rows that come in one batch a day and are looked at once a week: a binary model of ten numeric features, of
which the world never changes, under a policy that trains again by the calendar and is monitored, under one that only
trains by the calendar, or under one that waits for labels. A look without an event is one that runs no optimization.
`--digest` prints a hash of all that was predicted and decided: two programs that print the same replayed the same, to
the bit.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.backtest import simulate as replay
from optagent.codec import encode, model_from
from optagent.domain.backtest import BacktestAsk, Contender
from optagent.domain.model import ModelSpec
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger

FEATURES = 10
YEAR_DAYS, DAY_S = 365, 86_400
FIRST = np.datetime64("2004-01-01", "us")
MONITORED = RetrainingPolicy(
    (Trigger.SCHEDULE, Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT),
    Action.FULL,
    "aggressive",
    OptimizationType.RETRAIN,
    every="365d",
    cooldown="7d",
)
SCHEDULED = replace(MONITORED, triggers=(Trigger.SCHEDULE,))
BY_LABELS = replace(MONITORED, triggers=(Trigger.NEW_LABELS,), every=None, min_new_labels=10**9)
POLICIES = {"monitored": MONITORED, "scheduled": SCHEDULED, "labels": BY_LABELS}


@dataclass
class Looks:
    """CPU seconds of each step of a replay, apart for those that ran an optimization."""

    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


def history(years: int, rows_a_day: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    days = years * YEAR_DAYS
    x = rng.normal(size=(days * rows_a_day, FEATURES))
    chance = 1 / (1 + np.exp(-x[:, 0] - 0.5 * x[:, 1] * x[:, 2]))
    at = FIRST + np.repeat(np.arange(days), rows_a_day).astype("timedelta64[D]")
    named = {f"x{place}": x[:, place] for place in range(FEATURES)}
    return pa.table({"at": at, **named, "label": np.where(rng.random(len(x)) < chance, "yes", "no")})


def model() -> ModelSpec:
    fields: dict[str, Any] = {"task": "binary", "data": "history.parquet", "target": "label", "time_column": "at"}
    monitoring = {"performance_window_hours": 7 * 24}
    return model_from({"id": "daily", **fields, "folds": 3, "families": ["linear"], "monitoring": monitoring})


@contextmanager
def timed_looks() -> Iterator[Looks]:
    """Times each step of the replays within, from the answers of its rows to the run of what the policy calls for."""
    looks, answer, step = Looks(), replay.ReplayedTraffic.answer_until, replay._Simulation._run_step
    started = [0.0]

    async def answer_until(self: Any, *arguments: Any) -> None:
        started[0] = time.process_time()
        await answer(self, *arguments)

    async def run_step(self: Any) -> None:
        runs = len(self._runs)
        await step(self)
        (looks.quiet if len(self._runs) == runs else looks.busy).append(time.process_time() - started[0])

    replay.ReplayedTraffic.answer_until, replay._Simulation._run_step = answer_until, run_step  # type: ignore[method-assign]
    try:
        yield looks
    finally:
        replay.ReplayedTraffic.answer_until, replay._Simulation._run_step = answer, step  # type: ignore[method-assign]


def digest_of(outcome: replay.SimulatedPolicy) -> str:
    """A hash of predictions and run, without the seconds that it took."""
    runs = tuple(replace(run, compute_s=0.0) for run in outcome.run.runs)
    run = replace(outcome.run, runs=runs, counted=replace(outcome.run.counted, compute_s=0.0))
    return sha256(outcome.prediction.tobytes() + encode(run)).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=14)
    parser.add_argument("--rows-a-day", type=int, default=10)
    parser.add_argument("--step", default="7d")
    parser.add_argument("--policy", choices=sorted(POLICIES), default="monitored")
    parser.add_argument("--every", default="365d", help="of the calendar by which the model is trained again")
    parser.add_argument("--digest", action="store_true")
    arguments = parser.parse_args()
    rows = history(arguments.years, arguments.rows_a_day)
    policy = POLICIES[arguments.policy]
    policy = replace(policy, every=arguments.every) if policy.every else policy
    ask = BacktestAsk((), "7d", start=0.15, step=arguments.step)
    started = time.process_time()
    with timed_looks() as looks:
        outcome = replay.simulate(model(), rows, Contender("daily", policy), ask)
    total = time.process_time() - started
    tenth = max(1, len(looks.quiet) // 10)
    print(f"{rows.num_rows:,} rows, {len(looks.quiet)} looks without an event and {len(looks.busy)} with one")
    mean, last = (1e3 * float(np.mean(times)) for times in (looks.quiet, looks.quiet[-tenth:]))
    print(f"{mean:.1f} ms of CPU a look without an event, {last:.1f} ms in the last tenth of them")
    print(f"{total:.1f} s of CPU in all, {sum(looks.busy):.1f} s of them in looks with an event")
    if arguments.digest:
        print(digest_of(outcome))


if __name__ == "__main__":
    main()
