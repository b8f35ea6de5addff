"""What searching ensemble weights costs, beside what is asked of it: 50 models of 100,000 rows, on one core.

    .venv/bin/python tests/performance/bench_ensemble.py

Greedy weights are compared with the optimum by SLSQP, and with a naive grid of the same resolution: every weighting,
each scored by the metric itself. Of few models that grid is searched whole; of 50, one weighting is timed and their
number, of more than ten to the forty, is known.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from optagent.domain.model import Task
from optagent.ensembles.greedy import GreedyPlan, greedy
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import mean_of
from optagent.ensembles.simplex import count_points, grid
from optagent.ensembles.slsqp import slsqp
from optagent.ensembles.target import Target, gains, target_of
from optagent.training.metrics import METRICS, Metric

STEPS = GreedyPlan().steps
GRID_MODELS, GRID_STEPS = 5, 12


def world(models: int, rows: int, seed: int = 0) -> Members:
    """Models of one truth, each scaled and noisy in its own way."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.4, rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    said = np.empty((models, rows))
    for one in said:
        noisy = logit * rng.uniform(0.8, 1.2) + rng.normal(size=rows) * rng.uniform(0.3, 1.5)
        np.divide(1, 1 + np.exp(-noisy), out=one)
    return Members(Task.BINARY, tuple(f"m{index:03d}" for index in range(models)), said, y)


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """The least of several: what others do on this machine can only add to it."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def peak_share(members: Members, work: Callable[[Members], object]) -> float:
    """The most memory in use at once, the matrix included, as a share of the matrix."""
    tracemalloc.start()
    matrix = members.predictions.copy()
    work(Members(members.task, members.names, matrix, members.y))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / matrix.nbytes


def naive_grid(members: Members, metric: Metric, points: np.ndarray) -> float:
    return min(metric.score(members.y, weights @ members.predictions) for weights in points)


def say(what: str, measured: str, asked: str = "") -> None:
    print(f"{what:<66}{measured:>16}   {asked}", flush=True)


def worth(members: Members, target: Target, weights: np.ndarray) -> float:
    return target.worth(members.y, mean_of(members, weights))


def log_loss(members: Members, times: int) -> float:
    metric = METRICS["log_loss"]
    target = target_of(members, [metric])
    weights, optimum = greedy(members, target), slsqp(members, "log_loss")
    gap = worth(members, target, optimum) - worth(members, target, weights)
    seconds = cpu_seconds(lambda: greedy(members, target), times)
    by_gradient = cpu_seconds(lambda: slsqp(members, "log_loss"), times)
    memory = peak_share(members, lambda given: greedy(given, target_of(given, [metric])))
    say(f"greedy, log-loss, {STEPS} draws: CPU", f"{seconds:.2f} s", "at most 2 s")
    say("greedy, log-loss: memory, of the matrix", f"{memory:.2f}", "at most 1.2")
    say("greedy, log-loss: loss above the optimum of SLSQP", f"{gap:.1e}", "at most 1e-4")
    say("SLSQP, log-loss: CPU", f"{by_gradient:.2f} s")
    return seconds


def against_grids(members: Members, seconds: float, times: int) -> None:
    metric = METRICS["log_loss"]
    one = np.full((1, len(members)), 1 / len(members))
    naive = cpu_seconds(lambda: naive_grid(members, metric, one), 3) * count_points(len(members), STEPS)
    say(
        f"naive grid of {len(members)} models in steps of 1/{STEPS}, times greedy",
        f"{naive / seconds:.0e}",
        "at least 50",
    )
    few = members.select_models(range(GRID_MODELS))
    target = target_of(few, [metric])
    points = grid(GRID_MODELS, GRID_STEPS)
    whole = cpu_seconds(lambda: naive_grid(few, metric, points), 1)
    quick = cpu_seconds(lambda: greedy(few, target, GreedyPlan(steps=GRID_STEPS)), times)
    say(f"naive grid of {GRID_MODELS} models in steps of 1/{GRID_STEPS}, times greedy", f"{whole / quick:.0f}")


def other_metrics(members: Members, times: int) -> None:
    brier, auc = (target_of(members, [METRICS[name]]) for name in ("brier", "auc"))

    def from_the_start() -> None:  # without the second moments that members keep
        greedy(Members(members.task, members.names, members.predictions, members.y), brier)

    say(f"greedy, Brier score, {STEPS} draws: CPU", f"{cpu_seconds(from_the_start, times):.2f} s")
    all_of_them = np.arange(len(members))
    drawn = (all_of_them % 5 == 0).astype(np.int64)
    whole, half = (
        cpu_seconds(lambda share=share: gains(members, auc, drawn, share), times)
        for share in (all_of_them, all_of_them[::2])
    )
    say(f"greedy, AUC, {STEPS} draws: CPU (one draw, times {STEPS})", f"{STEPS * whole:.2f} s")
    say("AUC, half of the candidates, of all", f"{half / whole:.2f}", "at most 0.6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    with threadpool_limits(1):
        members = world(asked.models, asked.rows)
        print(f"{asked.models} models of {asked.rows:,} rows, {members.predictions.nbytes / 1e6:.0f} MB")
        seconds = log_loss(members, asked.times)
        against_grids(members, seconds, asked.times)
        other_metrics(members, asked.times)


if __name__ == "__main__":
    main()
