"""Simulated years in which nothing changes: how often each trigger starts a run all the same.

    .venv/bin/python tests/performance/bench_quiet_year.py --seeds 200
    .venv/bin/python tests/performance/bench_quiet_year.py --whole --seeds 8  # with the whole loop, some 10 s a year
    .venv/bin/python tests/performance/bench_quiet_year.py --whole --seeds 8 --policy conservative

Each seed is a year of its own, judged window by window by what the monitor and the policies call; a run ends without a
new champion. Each trigger promises a run every 90 days at most. The interval is that of the share of windows that start
a run (Clopper and Pearson 1934). Drift has a simulation of its own.

With `--whole`, half a year is learned and a year replayed week by week under a policy, with the very loop that runs
live: gates, and then shadow, ramp and baking. Where the policy's margin is 0, as of `conservative`, the budget of false
promotions is the error rate of the strategy for each of its runs. `balanced` promotes a candidate that is proven not to
be worse by more than 1 %: one that is as good as the champion may pass.
"""

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from optagent.backtest.simulate import simulate
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk, contender_named, parse_start
from optagent.domain.policy import Trigger
from optagent.domain.policy_run import RunCounts
from optagent.domain.strategy import STRATEGIES, strategy_named
from tests.simulation.quiet_year import EVERY_DAYS, TRIGGERS, Stream, count_runs

PER_DAY, LEARNED, LIVE = 40, 180, 365
MEMORIES = {"i.i.d.": 0.0, "AR(.9)": 0.9}
WINDOWS = {"24 h": 24.0, "a week": 168.0}
SPEC = {
    "id": "quiet",
    "task": "binary",
    "data": "/quiet.parquet",
    "target": "label",
    "time_column": "day",
    "label_horizon": "1d",
    "families": ["linear"],
    "folds": 2,
    "monitoring": {"performance_window_hours": 168, "false_alarm_every": f"{EVERY_DAYS}d"},
}


def history(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = PER_DAY * (LEARNED + LIVE)
    x = rng.normal(size=(rows, 4))
    label = np.where(x[:, 0] + 0.5 * x[:, 1] + rng.logistic(size=rows) > 0, "yes", "no")
    apart = np.timedelta64(86_400_000_000 // PER_DAY, "us")
    day = np.datetime64("2022-01-01", "us") + np.arange(rows) * apart
    return pa.table({"day": day, **{f"x{index}": x[:, index] for index in range(4)}, "label": label})


def count_whole_year(strategy: str, seed: int) -> RunCounts:
    share = f"{LEARNED / (LEARNED + LIVE):.3f}"
    policy = contender_named(f"{strategy}:champion")
    ask = BacktestAsk((policy,), "1d", parse_start(share), "168h", seed)
    return simulate(model_from(SPEC), history(seed), policy, ask).run.counted


def count_year(memory: float, hours: float, seed: int) -> tuple[Counter[Trigger], int]:
    """The runs of a year by their trigger, and the number of its windows."""
    runs, _, windows = count_runs(Stream(rows_a_day=PER_DAY, memory=memory), hours, seed)
    return runs, windows


def print_ratio(row: str, runs: int, windows: int, promised: float) -> None:
    """Runs by those promised, with the binomial interval of the share of windows that start one."""
    bounds = binomtest(runs, windows).proportion_ci(0.95)
    low, high = (bound * windows / promised for bound in bounds)
    print(f"| {row} | {runs} | {promised:.0f} | {runs / promised:.2f} | {low:.2f} to {high:.2f} |", flush=True)


def measure_triggers(seeds: int, pool: ProcessPoolExecutor) -> None:
    print("| windows, rows, trigger | runs | promised | ratio | 95 % interval |")
    print("|---|---|---|---|---|")
    for window, hours in WINDOWS.items():
        for rows, memory in MEMORIES.items():
            years = list(pool.map(partial(count_year, memory, hours), range(seeds), chunksize=4))
            windows = sum(count for _, count in years)
            promised = windows * hours / 24 / EVERY_DAYS
            total = sum((runs for runs, _ in years), Counter[Trigger]())
            for trigger in TRIGGERS:
                print_ratio(f"{window}, {rows}, {trigger}", total[trigger], windows, promised)
            print_ratio(f"{window}, {rows}, all", total.total(), windows, len(TRIGGERS) * promised)


def measure_loop(strategy: str, seeds: int, pool: ProcessPoolExecutor) -> None:
    years = list(pool.map(partial(count_whole_year, strategy), range(seeds)))
    retrains, promoted = sum(one.retrains for one in years), sum(one.promoted for one in years)
    allowed = 2 * LIVE / EVERY_DAYS
    rules = strategy_named(strategy)
    budget = f"{rules.alpha:.0%}" if rules.margin == 0 else f"none: not worse by {rules.margin:.0%} is enough"
    print("| a year without a change | measured | budget |")
    print("|---|---|---|")
    print(f"| years | {len(years)} | |")
    print(f"| false retrains a year | {retrains / len(years):.2f} | {allowed:.1f} |")
    print(f"| years with one | {sum(one.retrains > 0 for one in years)} | |")
    passed = sum(one.passed or 0 for one in years)
    print(f"| passes of the gates, of all retrains | {passed} of {retrains} | |")
    print(f"| rollouts under way at the end | {sum(one.under_way for one in years)} | |")
    print(f"| promotions, of all retrains | {promoted} of {retrains} | {budget} |")
    print(f"| years with one | {sum(one.promoted > 0 for one in years)} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--whole", action="store_true", help="replay the whole loop, which is slow")
    parser.add_argument("--policy", choices=list(STRATEGIES), default="balanced", help="of the whole loop")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.perf_counter()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        if given.whole:
            measure_loop(given.policy, given.seeds, pool)
        else:
            measure_triggers(given.seeds, pool)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
