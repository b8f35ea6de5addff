"""A simulated year in which nothing changes: how often a policy retrains and promotes all the same.

    .venv/bin/python tests/performance/bench_quiet_year.py --seeds 200

Each seed is a history of its own: half a year to learn from, then a year that is replayed week by week under the
policy `balanced`, with the very loop that runs live: gates, and then shadow, ramp and baking. The budget of false
retrains is what `false_alarm_every` says, for each of the policy's two triggers; that of false passes and of false
promotions is the error rate of the strategy for each of these runs.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa

from optagent.backtest.simulate import simulate
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk, contender_named, parse_start
from optagent.domain.policy_run import RunCounts
from optagent.domain.strategy import strategy_named

PER_DAY, LEARNED, LIVE = 40, 180, 365
EVERY_DAYS = 90
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


def one_year(seed: int) -> RunCounts:
    share = f"{LEARNED / (LEARNED + LIVE):.3f}"
    policy = contender_named("balanced")
    ask = BacktestAsk((policy,), "1d", parse_start(share), "168h", seed)
    return simulate(model_from(SPEC), history(seed), policy, ask).run.counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.perf_counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        years = list(pool.map(one_year, range(given.seeds)))
    retrains, promoted = sum(one.retrains for one in years), sum(one.promoted for one in years)
    allowed = 2 * LIVE / EVERY_DAYS
    alpha = strategy_named("balanced").alpha
    print("| a year without a change | measured | budget |")
    print("|---|---|---|")
    print(f"| years | {len(years)} | |")
    print(f"| false retrains a year | {retrains / len(years):.2f} | {allowed:.1f} |")
    print(f"| years with one | {sum(one.retrains > 0 for one in years)} | |")
    passed = sum(one.passed or 0 for one in years)
    print(f"| false passes of the gates, of all retrains | {passed} of {retrains} | |")
    print(f"| rollouts under way at the end | {sum(one.under_way for one in years)} | |")
    print(f"| false promotions, of all retrains | {promoted} of {retrains} | {alpha:.0%} |")
    print(f"| years with one | {sum(one.promoted > 0 for one in years)} | |")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
