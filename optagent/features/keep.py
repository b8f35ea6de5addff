"""What one search keeps: above the bar, not said better by another, steadiest of its cluster, no shadow's equal, and
of use to the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from optagent.arrays import Rows
from optagent.errors import Infeasible
from optagent.features.ablation import useful
from optagent.features.basis import curves
from optagent.features.collinearity import clusters, most_stable, rank_correlation
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.features.generate import most_promising
from optagent.features.matching_pursuit import pursue, steadiness
from optagent.features.screening import ScreeningResult
from optagent.features.screening_statistics import ChanceBar, ScreeningTarget, values_of
from optagent.features.searches import FeatureSearch, plain_numbers, some_columns, some_rows
from optagent.features.shadow_features import ShadowWins, against_shadows
from optagent.training.plan import Step
from optagent.training.problem import Data, Fold
from optagent.training.transform import transformed

Steps = tuple[Step, ...]

_MOST_SURVIVORS = 200
_FOLDS = 3  # of a search, where features are tried
_MOST_ROWS = 20_000  # of each part of a fold, where features are tried
_MOST_COLUMNS = 30  # besides those that features are made of
_TREE_ROUNDS = 60  # beside shadows: the first trees tell what is of use
_ROUNDS_TO_DROP = 20
"""With fewer rounds no column of many can be told to be idle."""


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """`kept` are steps with the p-value each had in its turn, `gone` those that went, with the reason as well.

    `above` is how many candidates were above the bar, `idle` the plain columns that are of no use.
    """

    kept: dict[Step, float] = field(default_factory=dict)
    gone: dict[Step, tuple[float, str]] = field(default_factory=dict)
    above: int = 0
    idle: tuple[str, ...] = ()


def choose(work: FeatureSearchContext, looked: ScreeningResult, search: FeatureSearch, at: int) -> KeptSteps:
    """The features of a search, the one at that place of all."""
    own = looked.own(at)
    pools = [_above(looked, bar, question) for bar, question in zip(looked.bars, own, strict=True)]
    found = _pursued(work, looked, own, pools)
    steps = tuple(found)[: work.limits.features]
    data, folds = _tried_on(work, search, steps)
    judges: tuple[tuple[str, Callable[[Steps], Steps]], ...] = (
        ("another of its cluster is steadier", partial(_steadiest, looked, looked.question(own[-1]))),
        ("no better than a shadow", partial(_beyond_shadows, work, data, folds)),
        ("the model is no better with it", partial(useful, work, data, folds)),
    )
    gone: dict[Step, tuple[float, str]] = {}
    for reason, judge in judges:
        left = judge(steps) if steps else ()
        gone |= {step: (found[step], reason) for step in steps if step not in left}
        steps = left
    kept = {step: found[step] for step in steps}
    return KeptSteps(kept, gone, len(set().union(*pools)), _idle(work, data, folds, steps))


def _above(looked: ScreeningResult, bar: ChanceBar, question: int) -> list[Step]:
    """The candidates above the bar, best first."""
    height = bar.height
    found = [
        (statistic, step)
        for block in looked.blocks
        for statistic, step in zip(block.statistics[:, question].tolist(), block.steps, strict=True)
        if statistic > height
    ]
    return [step for _, step in sorted(found, key=lambda pair: -pair[0])[:_MOST_SURVIVORS]]


def _pursued(
    work: FeatureSearchContext, looked: ScreeningResult, own: Sequence[int], pools: Sequence[list[Step]]
) -> dict[Step, float]:
    """Question by question: what the earlier ones found competes beside the plain columns."""
    spare = plain_numbers(looked.screen.data)
    found: dict[Step, float] = {}
    for bar, number, pool in zip(looked.bars, own, pools, strict=True):
        if not pool:
            continue
        question, values = looked.question(number), values_of(looked.screen.data, pool)
        best = pursue(spare, values, question.residual, question.asked, bar.height, work.limits.features, work.flexible)
        spare = np.concatenate([spare, values[[each.index for each in best]]])
        p_values = {pool[each.index]: min(1.0, len(own) * bar.p_value(each.statistic)) for each in best}
        found |= {step: p_value for step, p_value in p_values.items() if step not in found}
    return found


def _steadiest(looked: ScreeningResult, question: ScreeningTarget, steps: Steps) -> Steps:
    """Of features that rank rows alike, the one that explains most where it explains least."""
    values = values_of(looked.screen.data, steps)
    shapes = curves(values, looked.screen.flexible)[:, :, question.asked]
    steady = steadiness(shapes, question.residual[question.asked], question.parts[question.asked])
    alike = clusters(rank_correlation(np.ascontiguousarray(values.T)))
    return tuple(steps[index] for index in most_stable(alike, steady, -np.arange(len(steps), dtype=np.float64)))


def _tried_on(work: FeatureSearchContext, search: FeatureSearch, steps: Steps) -> tuple[Data, list[Fold]]:
    """The last folds of the search, at most 20,000 rows of each part, and the columns that matter to the model."""
    folds = [Fold(_thin(fold.train), _thin(fold.valid)) for fold in search.inner[-_FOLDS:]]
    rows = np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.valid)]))
    within = [Fold(np.searchsorted(rows, fold.train), np.searchsorted(rows, fold.valid)) for fold in folds]
    names = work.problem.data.names
    best = most_promising(names, search.importances.mean(axis=0))[:_MOST_COLUMNS]
    columns = names if work.rules.drop_idle else {*best, *(name for step in steps for name in step.columns)}
    return some_columns(some_rows(work.problem.data, rows), frozenset(columns)), within


def _beyond_shadows(work: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps) -> Steps:
    tested = _shadows(work, data, folds, steps, work.rules.shadow_rounds)
    if tested is None:
        return steps
    better = set(tested.mostly_better)
    return tuple(step for step in steps if step.name in better)


def _idle(work: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps) -> tuple[str, ...]:
    """Plain columns that shadows beat, if they are to be dropped; one is always left."""
    tested = _shadows(work, data, folds, steps, _ROUNDS_TO_DROP) if work.rules.drop_idle else None
    if tested is None:
        return ()
    idle = tuple(name for name in tested.rejected if name in data.names)
    return idle if len(idle) < len(data.names) else ()


def _shadows(
    work: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps, rounds: int
) -> ShadowWins | None:
    """The columns with these features against their shadows; None where there is nothing to be had."""
    if not rounds:
        return None
    made = transformed(fit_plan(data, steps), data)
    learner = replace(work.learner, rounds=min(work.learner.rounds, _TREE_ROUNDS))
    try:
        return against_shadows(learner, made, folds, rounds, work.rules.alpha, work.seed, work.metric)
    except Infeasible:
        return None


def _thin(rows: Rows) -> Rows:
    ordered = np.sort(rows)
    return ordered[:: -(-len(ordered) // _MOST_ROWS)]
