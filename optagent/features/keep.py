"""Filters on the features of one search: above the chance bar, first in the pursuit, steadiest of its cluster, better
than shadows, and useful to the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from optagent.arrays import Rows
from optagent.errors import Infeasible
from optagent.features.ablation import useful_steps
from optagent.features.basis import curves
from optagent.features.collinearity import clusters, most_stable_columns, rank_correlation
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.features.generate import most_promising
from optagent.features.label_screening import without_leaks
from optagent.features.matching_pursuit import pursue, steadiness
from optagent.features.screening import ScreeningResult
from optagent.features.screening_statistics import ChanceBar, ScreeningTarget, step_values
from optagent.features.searches import FeatureSearch, numeric_columns, select_columns, select_rows
from optagent.features.shadow_features import ShadowWins, count_shadow_wins
from optagent.training.problem import Data, Fold
from optagent.training.steps import Step
from optagent.training.transform import transform_data

Steps = tuple[Step, ...]

_MOST_SURVIVORS = 200
_FOLDS = 3  # of a search, where features are tried
_MOST_ROWS = 20_000  # of each part of a fold, where features are tried
_MOST_COLUMNS = 30  # besides those that features are made of
_TREE_ROUNDS = 60  # beside shadows: the first trees tell what is of use
_ROUNDS_TO_DROP = 20
"""With fewer rounds, no column among many can be shown to be idle."""


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """The outcome of the filters on one search.

    `kept` are the steps that passed, with the p-value each had in its turn; `gone` are those removed, with p-value and
    reason. `above` is how many candidates were above the bar; `idle` are the plain columns that the model does not
    need.
    """

    kept: dict[Step, float] = field(default_factory=dict)
    gone: dict[Step, tuple[float, str]] = field(default_factory=dict)
    above: int = 0
    idle: tuple[str, ...] = ()


def keep_steps(context: FeatureSearchContext, screening: ScreeningResult, search: FeatureSearch, at: int) -> KeptSteps:
    """The steps that one search keeps; `at` is its position among all searches."""
    questions = screening.questions_of_search(at)
    pools = [
        _steps_above_bar(screening, bar, question) for bar, question in zip(screening.bars, questions, strict=True)
    ]
    p_values = _pursue_steps(context, screening, questions, pools)
    steps = tuple(p_values)[: context.limits.features]
    data, folds = _trial_data(context, search, steps)
    target = screening.question(questions[-1])
    filters: tuple[tuple[str, Callable[[Steps], Steps]], ...] = (
        ("it tells the target by itself, as a leak does", partial(without_leaks, screening.screen.data, target.asked)),
        ("another of its cluster is steadier", partial(_steadiest_of_clusters, screening, target)),
        ("no better than a shadow", partial(_better_than_shadows, context, data, folds)),
        ("the model is no better with it", partial(useful_steps, context, data, folds)),
    )
    removed: dict[Step, tuple[float, str]] = {}
    for reason, keep in filters:
        remaining = keep(steps) if steps else ()
        removed |= {step: (p_values[step], reason) for step in steps if step not in remaining}
        steps = remaining
    kept = {step: p_values[step] for step in steps}
    return KeptSteps(kept, removed, len(set().union(*pools)), _idle_columns(context, data, folds, steps))


def _steps_above_bar(screening: ScreeningResult, bar: ChanceBar, question: int) -> list[Step]:
    """The candidates above the bar, best first."""
    height = bar.height
    above = [
        (statistic, step)
        for block in screening.blocks
        for statistic, step in zip(block.statistics[:, question].tolist(), block.steps, strict=True)
        if statistic > height
    ]
    return [step for _, step in sorted(above, key=lambda pair: -pair[0])[:_MOST_SURVIVORS]]


def _pursue_steps(
    context: FeatureSearchContext, screening: ScreeningResult, questions: Sequence[int], pools: Sequence[list[Step]]
) -> dict[Step, float]:
    """The steps found by pursuit with their p-values, question by question: steps of the earlier questions compete
    beside the plain columns."""
    competing = numeric_columns(screening.screen.data)
    p_values: dict[Step, float] = {}
    for bar, number, pool in zip(screening.bars, questions, pools, strict=True):
        if not pool:
            continue
        question = screening.question(number)
        values = step_values(screening.screen.data, pool, question.asked)
        most, flexible = context.limits.features, context.flexible
        best = pursue(competing, values, question.residual, question.asked, bar.height, most, flexible)
        competing = np.concatenate([competing, values[[each.index for each in best]]])
        fresh = {pool[each.index]: min(1.0, len(questions) * bar.p_value(each.statistic)) for each in best}
        p_values |= {step: p_value for step, p_value in fresh.items() if step not in p_values}
    return p_values


def _steadiest_of_clusters(screening: ScreeningResult, question: ScreeningTarget, steps: Steps) -> Steps:
    """The step of each cluster of like ranks whose smallest share of explained residual in any part is largest."""
    values = step_values(screening.screen.data, steps, question.asked)
    shapes = curves(values, screening.screen.flexible)[:, :, question.asked]
    steady = steadiness(shapes, question.residual[question.asked], question.parts[question.asked])
    groups = clusters(rank_correlation(np.ascontiguousarray(values.T)))
    return tuple(
        steps[index] for index in most_stable_columns(groups, steady, -np.arange(len(steps), dtype=np.float64))
    )


def _trial_data(context: FeatureSearchContext, search: FeatureSearch, steps: Steps) -> tuple[Data, list[Fold]]:
    """The last folds of the search, at most 20,000 rows of each part, and the columns that matter to the model."""
    folds = [Fold(_thin_rows(fold.train), _thin_rows(fold.valid)) for fold in search.inner[-_FOLDS:]]
    rows = np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.valid)]))
    local_folds = [Fold(np.searchsorted(rows, fold.train), np.searchsorted(rows, fold.valid)) for fold in folds]
    names = context.problem.data.names
    best = most_promising(names, search.importances.mean(axis=0))[:_MOST_COLUMNS]
    columns = names if context.rules.drop_idle else {*best, *(name for step in steps for name in step.columns)}
    return select_columns(select_rows(context.problem.data, rows), frozenset(columns)), local_folds


def _better_than_shadows(context: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps) -> Steps:
    """The steps whose feature beats the best shadow in most rounds."""
    wins = _run_shadow_rounds(context, data, folds, steps, context.rules.shadow_rounds)
    if wins is None:
        return steps
    better = set(wins.mostly_better_columns)
    return tuple(step for step in steps if step.name in better)


def _idle_columns(context: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps) -> tuple[str, ...]:
    """Plain columns that shadows beat, where the rules drop them; never all columns."""
    wins = _run_shadow_rounds(context, data, folds, steps, _ROUNDS_TO_DROP) if context.rules.drop_idle else None
    if wins is None:
        return ()
    idle = tuple(name for name in wins.rejected_columns if name in data.names)
    return idle if len(idle) < len(data.names) else ()


def _run_shadow_rounds(
    context: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Steps, rounds: int
) -> ShadowWins | None:
    """The columns with these features against their shadows; None without rounds, and where the model cannot be
    trained."""
    if not rounds:
        return None
    transformed_data = transform_data(fit_plan(data, steps), data)
    learner = replace(context.learner, rounds=min(context.learner.rounds, _TREE_ROUNDS))
    try:
        rules, seed, metric = context.rules, context.seed, context.metric
        return count_shadow_wins(learner, transformed_data, folds, rounds, rules.alpha, seed, metric)
    except Infeasible:
        return None


def _thin_rows(rows: Rows) -> Rows:
    ordered = np.sort(rows)
    return ordered[:: -(-len(ordered) // _MOST_ROWS)]
