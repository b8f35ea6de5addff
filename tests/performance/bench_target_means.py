"""Means of the target on made-up tables: found where categories tell, refused where the target is shuffled.

`many values`: a category of 200 values, each with an effect of its own. `pair`: two categories of 30 values, an effect
for each of the 900 pairs. `shuffled`: the latter with the target in another order.
"""

import argparse
import time

import numpy as np

from optagent.domain.model import Task
from optagent.features.proposal import FeatureProposal
from optagent.features.propose import propose_features
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named
from optagent.training.problem import Data, Fold, Problem
from optagent.training.target_mean import TargetMean

ROWS, FOLDS, ROUNDS = 3_000, 4, 100
MANY, FEW = 200, 30
KINDS = ("many values", "pair", "shuffled")


def make_problem(kind: str, task: Task, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    shop, town, trade = rng.integers(0, MANY, ROWS), rng.integers(0, FEW, ROWS), rng.integers(0, FEW, ROWS)
    numbers = rng.normal(size=(ROWS, 2))
    effect = rng.normal(size=MANY)[shop] if kind == "many values" else 1.5 * rng.normal(size=(FEW, FEW))[town, trade]
    signal = effect + 0.5 * numbers[:, 0] + 0.7 * rng.normal(size=ROWS)
    y = (signal > 0).astype(np.float64) if task is Task.BINARY else signal
    y = rng.permutation(y) if kind == "shuffled" else y
    x = np.column_stack([shop, town, trade, numbers]).astype(np.float32)
    names = ("shop", "town", "trade", "a", "b")
    data = Data(x, y, names, task, (0, 1, 2), (MANY, FEW, FEW), 2 if task is Task.BINARY else 0)
    part = rng.permutation(ROWS) % FOLDS
    folds = tuple(Fold(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS))
    return Problem(data, folds)


def has_mean(proposal: FeatureProposal) -> bool:
    steps = proposal.plan.steps if proposal.accepted and proposal.plan else ()
    return any(isinstance(step, TargetMean) for step in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--family", default="lightgbm")
    chosen = parser.parse_args()
    family = family_named(chosen.family)
    print(f"{family.name}, {ROWS:,} rows, {chosen.seeds} seeds\n")
    print("| categories | task | accepted with a mean | accepted | score | with features | CPU s a run |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        for task in (Task.BINARY, Task.REGRESSION):
            metric, began, proposals = metric_named("", task), time.process_time(), []
            for seed in range(chosen.seeds):
                problem = make_problem(kind, task, seed)
                proposals.append(propose_features(problem, family, metric, rounds=ROUNDS, seed=seed))
            tested = [(each.plain_score, each.score) for each in proposals if each.score is not None]
            plain, made = (f"{score:.4f}" for score in np.mean(tested, axis=0)) if tested else ("", "")
            print(
                f"| {kind} | {task} | {sum(map(has_mean, proposals))} | {sum(each.accepted for each in proposals)} "
                f"| {metric.name} {plain} | {made} | {(time.process_time() - began) / chosen.seeds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
