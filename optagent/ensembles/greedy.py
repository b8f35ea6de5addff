"""Greedy selection with replacement (Caruana et al. 2004, Ensemble selection from libraries of models, ICML).

The first draw is the best single model. Each later draw takes the model whose addition makes the mean of all drawn so
far best, some models more than once; the weights are the counts at the best mean on the way. Since few draws allow only
coarse weights, the method hardly overfits; with the default number of draws, log-loss is within 1e-4 of the optimum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from optagent.arrays import Counts, Rows, Vector
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.members import Members
from optagent.ensembles.target import ROUNDING, Target, best_of, gains
from optagent.errors import InvalidRequest

Gains = Callable[[Counts, Rows], Vector]
"""`gains` of fixed members and target, computed in this process or shared out among several."""


@dataclass(frozen=True, slots=True)
class GreedyPlan:
    """The number of draws, and of bags: random shares of the library whose mean weights depend less on these very rows
    (section 2.3 of the paper)."""

    steps: int = 60
    bags: int = 1
    bag_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.bags < 1:
            raise InvalidRequest(f"steps and bags must be at least 1, got {self.steps} and {self.bags}")
        if not 0 < self.bag_share <= 1:
            raise InvalidRequest(f"bag_share must be above 0 and at most 1, got {self.bag_share}")


def greedy(
    members: Members,
    target: Target,
    plan: GreedyPlan | None = None,
    budget: EnsembleBudget | None = None,
    compute_gains: Gains | None = None,
) -> Vector:
    """(models,) weights that sum to 1.

    The mean of several bags may break a budget that each of them keeps, so a budget allows one bag only.
    """
    plan, budget = plan or GreedyPlan(), budget or EnsembleBudget()
    budget.check(members)
    if plan.bags > 1 and budget != EnsembleBudget():
        raise InvalidRequest(f"a budget needs one bag, got {plan.bags}")
    compute_gains = compute_gains or partial(gains, members, target)
    counts = [_draw_counts(members, bag, plan.steps, budget, compute_gains) for bag in _draw_bags(members, plan)]
    return np.mean([each / each.sum() for each in counts], axis=0)


def _draw_bags(members: Members, plan: GreedyPlan) -> list[Rows]:
    if plan.bags == 1:
        return [members.by_name]
    rng = np.random.default_rng(plan.seed)
    size = max(1, round(len(members) * plan.bag_share))
    return [members.by_name[rng.choice(len(members), size, replace=False)] for _ in range(plan.bags)]


def _draw_counts(members: Members, bag: Rows, steps: int, budget: EnsembleBudget, compute_gains: Gains) -> Counts:
    counts = np.zeros(len(members), dtype=np.int64)
    best, best_counts = -np.inf, counts
    in_bag = np.isin(np.arange(len(members)), bag)
    for _ in range(steps):
        candidates = np.flatnonzero(in_bag & budget.admits(members, counts > 0))
        worths = np.full(len(members), -np.inf)
        worths[candidates] = compute_gains(counts, candidates)
        position = best_of(worths, members.by_name)
        counts[position] += 1
        if counts.sum() == 1 or worths[position] > best + ROUNDING * abs(best):
            best, best_counts = worths[position], counts.copy()
    return best_counts
