"""Selection of an ensemble over the best single model, on rows that no search saw.

The rows are split in three. Each search learns weights on the first part and is scored on the second; the best search
learns again on both, and is tested on the third beside the best single model, which is chosen on the first two as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from optagent.analysis.bootstrap import Resampling
from optagent.analysis.pareto import fronts
from optagent.arrays import Codes, Rows, Vector
from optagent.domain.model import ModelSpec
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.choice import EnsembleChoice, EnsembleOption
from optagent.ensembles.diversity import diversity
from optagent.ensembles.greedy import greedy
from optagent.ensembles.holdout_test import run_holdout_test
from optagent.ensembles.members import Members
from optagent.ensembles.methods import SEARCHES, WITH_FEATURES, GainsFor, LearningData, gains_in_process, searches_of
from optagent.ensembles.row_split import RowSplit, split_rows
from optagent.ensembles.shares import latency_of, weights_of
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.target import Target, best_of, target_of
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.combined import Combined, combine
from optagent.training.metrics import Metric
from optagent.training.problem import Fold

MIN_ROWS = 1000
"""With fewer rows to learn weights from, no lasting advantage over the best single model can be expected."""

_TIE_SHARE = 1e-4  # of the best worth: searches this close cannot be told apart on the rows of the pick


@dataclass(frozen=True, slots=True)
class EnsembleGoal:
    """The goal of a selection: the first metric has to improve by an interval of confidence `1 - alpha`, and no other
    metric may become worse by one."""

    metrics: tuple[Metric, ...]
    method: str = "auto"
    budget: EnsembleBudget = field(default_factory=EnsembleBudget)
    alpha: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MemberData:
    """Members with the specification, times, features and entities of their rows."""

    members: Members
    spec: ModelSpec
    time: Vector | None = None
    features: StackFeatures | None = None
    entity: Codes | None = None

    def learning_data(
        self, rows: Rows, folds: tuple[Fold, ...], library: Rows, target: Target, gains_for: GainsFor
    ) -> LearningData:
        features = None if self.features is None else self.features.select_rows(rows)
        return LearningData(self.members.select_rows(rows).select_models(library), target, folds, features, gains_for)


def choose_ensemble(
    member_data: MemberData, goal: EnsembleGoal, gains_for: GainsFor = gains_in_process
) -> EnsembleChoice:
    """The ensemble or the best single model; a search that cannot be made is left out, with a note.

    Raises InvalidRequest for an unknown method and for a budget that no model meets, and InvalidData where a metric is
    undefined on the rows.
    """
    members = member_data.members
    searches_of(goal.method)
    goal.budget.check(members)
    try:
        parts = split_rows(member_data.spec, members.y, member_data.time, goal.seed, member_data.entity)
    except InvalidData as error:
        return _keep_single(members, goal, f"there are no rows to judge an ensemble by: {error}")
    if len(parts.learn) < MIN_ROWS:
        reason = f"weights learned on {len(parts.learn):,} rows would not last, {MIN_ROWS:,} are needed"
        return _keep_single(members, goal, reason)
    return _choose_by_split(member_data, parts, goal, gains_for)


def _choose_by_split(
    member_data: MemberData, parts: RowSplit, goal: EnsembleGoal, gains_for: GainsFor
) -> EnsembleChoice:
    learn = member_data.members.select_rows(parts.learn)
    target = target_of(learn, goal.metrics)
    library = _members_within_budget(goal.budget, member_data.members.select_rows(parts.fit), target, gains_for)
    if len(library) < 2:
        return _keep_single(learn, goal, "no two models that meet the budget together are better than one alone")
    fit_data, learn_data = (
        member_data.learning_data(rows, folds, library, target, gains_for)
        for rows, folds in ((parts.fit, parts.fit_folds), (parts.learn, parts.learn_folds))
    )
    ensembles, notes = _run_searches(goal.method, fit_data)
    pick_data = member_data.learning_data(parts.pick, (), library, target, gains_for)
    options = _options(ensembles, pick_data)
    try:
        search = _pick_search(options)
        ensemble = SEARCHES[search](learn_data)
    except InvalidRequest as error:
        return replace(_keep_single(learn, goal, f"no search came to an end: {error}"), notes=notes, options=options)
    single = best_single(learn, target, goal.budget)
    ordered = member_data.time is not None
    groups = member_data.time if ordered else member_data.entity
    verdict_groups = None if groups is None else groups[parts.verdict]
    resampling = Resampling(seed=goal.seed, time_ordered=ordered, groups=verdict_groups)
    verdict_data = member_data.learning_data(parts.verdict, (), np.arange(len(learn)), target, gains_for)
    choice = run_holdout_test(verdict_data, ensemble, single, resampling, goal.alpha)
    return replace(
        choice,
        search=search,
        learned_rows=len(parts.learn),
        options=options,
        notes=(*member_data.members.notes, *notes),
    )


def best_single(members: Members, target: Target, budget: EnsembleBudget) -> int:
    """The position of the best model that meets the budget."""
    admitted = budget.admits(members, np.zeros(len(members), dtype=bool))
    return best_of(np.where(admitted, target.singles(members), -np.inf), members.by_name)


def _keep_single(members: Members, goal: EnsembleGoal, reason: str) -> EnsembleChoice:
    single = members.names[best_single(members, target_of(members, goal.metrics), goal.budget)]
    return EnsembleChoice(False, single, f"{reason}: {single} is kept", notes=members.notes)


def _members_within_budget(budget: EnsembleBudget, members: Members, target: Target, gains_for: GainsFor) -> Rows:
    """The members that a search may use: all, or those of greedy weights that meet the budget."""
    if budget.holds_all(members):
        return np.arange(len(members))
    return np.flatnonzero(greedy(members, target, budget=budget, compute_gains=gains_for(members, target)))


def _run_searches(method: str, learning: LearningData) -> tuple[dict[str, Combined], tuple[str, ...]]:
    ensembles, notes = {}, []
    for name in searches_of(method):
        if name == WITH_FEATURES and learning.features is None:
            continue
        try:
            ensembles[name] = SEARCHES[name](learning)
        except InvalidRequest as error:
            notes.append(f"{name} was left out: {error}")
    return ensembles, tuple(notes)


def _options(ensembles: Mapping[str, Combined], pick: LearningData) -> tuple[EnsembleOption, ...]:
    options = [_option(name, ensemble, pick) for name, ensemble in ensembles.items()]
    if not options:
        return ()
    signs = np.array([1.0 if metric.maximize else -1.0 for metric in pick.target.metrics])
    points = np.array([[*(signs * list(option.scores.values())), -(option.latency_ms or 0.0)] for option in options])
    return tuple(
        replace(option, on_front=bool(rank == 0)) for option, rank in zip(options, fronts(points), strict=True)
    )


def _option(search: str, ensemble: Combined, pick: LearningData) -> EnsembleOption:
    members = pick.members
    prediction = combine(ensemble, members.by_member(), None if pick.features is None else pick.features.x)
    return EnsembleOption(
        search,
        len(ensemble.names),
        pick.target.worth(members.y, prediction),
        {metric.name: metric.score(members.y, prediction) for metric in pick.target.metrics},
        diversity(members, weights_of(members, ensemble)).score,
        latency_of(members, ensemble),
    )


def _pick_search(options: tuple[EnsembleOption, ...]) -> str:
    """The name of the best option; among equals the most diverse, then the one of fewest models."""
    if not options:
        raise InvalidRequest("all were left out")
    best = max(option.worth for option in options)
    tied = [option for option in options if option.worth >= best - _TIE_SHARE * abs(best)]
    return max(tied, key=lambda option: (option.diversity, -option.models)).search
