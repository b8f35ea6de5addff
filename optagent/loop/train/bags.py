"""Bag search: the outcome of a search beside its bag, the mean of models that each leave out a fold of the rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.analysis.bootstrap import Resampling
from optagent.arrays import Rows
from optagent.domain.gate import gates_from
from optagent.domain.policy import RetrainingPolicy
from optagent.ensembles.bag_test import BagChoice, BagTest, choose_bag
from optagent.ensembles.bags import KINDS, bag_mean, bag_recipes, full_rounds, single_means, why_no_bag
from optagent.ensembles.out_of_fold import out_of_fold
from optagent.errors import Infeasible, InvalidData
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.build import BuiltModel
from optagent.loop.train.ensemble import build_members
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.members import train_members
from optagent.loop.train.prepare import PreparedRows
from optagent.training.average import WeightedMean
from optagent.training.combined import Combined
from optagent.training.recipe import OutOfFold, Recipe


@dataclass(frozen=True, slots=True)
class Bag:
    """A bag that was accepted: the recipes of all its parts, their mean, and the choice that was made."""

    recipes: tuple[Recipe, ...]
    mean: WeightedMean
    choice: BagChoice


@dataclass(frozen=True, slots=True)
class BagGoal:
    """The bag to try: `models` for each recipe, 0 for none, that answer a row within `max_latency_ms`; `test` has the
    rows and the risk."""

    models: int
    test: HoldoutTest
    max_latency_ms: float = math.inf


def search_bag(
    recipes: Sequence[Recipe],
    combined: Combined | None,
    goal: BagGoal,
    ports: Ports,
    run: Run,
) -> Bag | str:
    """The bag of one recipe, or of several under one weighting, where it is better; else the reason for none, as text.

    As many of its models are trained fold by fold as the command's time allows. Blocks.
    """
    prepared, seed = goal.test.prepared, goal.test.seed
    reason = why_no_bag(recipes, goal.models, len(prepared.problem.data))
    if combined is not None and not isinstance(combined, WeightedMean):
        return f"no bag: an ensemble by {combined.kind} is no mean of its models"
    if reason is not None or ports.workers is None:
        return f"no bag: {reason or 'this agent has no workers to train it'}"
    kinds = {kind: bag_recipes(recipes, goal.models, kind) for kind in KINDS}
    to_train = [part for parts in kinds.values() for part in parts]
    try:
        by_name = train_members(to_train, prepared.problem, seed, ports.workers, run)
        kinds = {kind: full_rounds(parts, frozenset(by_name), len(recipes)) for kind, parts in kinds.items()}
        kinds = {kind: parts for kind, parts in kinds.items() if len(parts) >= 2 * len(recipes)}
        if "seeds" not in kinds:
            return f"no bag: its models were not trained within the time limit of {run.deadline.limit_s:g} s"
        choice = _choose(kinds, combined, by_name, goal)
    except (Infeasible, InvalidData) as error:
        return f"no bag: {error}"
    if choice.kind is None:
        return choice.reason
    parts = kinds[choice.kind]
    return Bag(parts, bag_mean(parts, prepared.spec.task, combined), choice)


def build_bag(bag: Bag, prepared: PreparedRows, seed: int, threads: int) -> BuiltModel:
    """The bag that was accepted, each of its models trained on all development rows, or on all but a fold."""
    facts = {"weights": dict(zip(bag.mean.names, bag.mean.weights, strict=True))}
    return build_members(bag.mean, bag.recipes, prepared, seed, threads, facts, bag.choice.score)


def bag_notes(bag: Bag | str | None) -> tuple[str, ...]:
    """The reason for or against the bag, where one was asked for."""
    if bag is None:
        return ()
    return (bag if isinstance(bag, str) else bag.choice.reason,)


def latency_limit(policy: RetrainingPolicy | None) -> float:
    """The milliseconds for a row that the latency gate of a model's policy lets through."""
    return gates_from({} if policy is None else policy.gates).max_latency_ms


def _choose(
    kinds: Mapping[str, Sequence[Recipe]],
    weights: WeightedMean | None,
    by_name: Mapping[str, OutOfFold],
    goal: BagGoal,
) -> BagChoice:
    prepared, test, problem = goal.test.prepared, goal.test, goal.test.prepared.problem
    task, names = prepared.spec.task, [part.name for parts in kinds.values() for part in parts]
    predictions = {name: by_name[name].predictions for name in names}
    members, rows = out_of_fold(task, problem.data.y, problem.folds, predictions)
    latencies_ms = {
        kind: math.fsum(by_name[part.name].latency_ms or 0.0 for part in parts) for kind, parts in kinds.items()
    }
    bags = {kind: bag_mean(parts, task, weights) for kind, parts in kinds.items()}
    singles = single_means(kinds["seeds"], task, weights)
    bag_test = BagTest(test.metric, test.alpha, _resampling(prepared, rows, test.seed), goal.max_latency_ms)
    return choose_bag(members, bags, singles, bag_test, latencies_ms)


def _resampling(prepared: PreparedRows, rows: Rows, seed: int) -> Resampling:
    """Resamples of development rows: of one time together, in blocks of neighbours in time, or whole entities."""
    ordered = prepared.dev_time is not None
    groups = prepared.dev_time if ordered else prepared.dev_entity
    chosen = None if groups is None else np.asarray(groups)[rows]
    return Resampling(seed=seed, time_ordered=ordered, groups=chosen)
