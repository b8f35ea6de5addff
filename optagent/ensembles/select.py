"""An ensemble, or the best single model: whichever can be shown to be better on rows that no search saw.

The rows are parted in three. Each search learns weights on the first and is scored on the second; the best of them
learns again on both, and is judged on the third beside the best single model, which is chosen on the first two as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from optagent.analysis.bootstrap import Resampling
from optagent.analysis.pareto import fronts
from optagent.arrays import Rows, Vector
from optagent.domain.model import ModelSpec
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.choice import EnsembleChoice, EnsembleOption
from optagent.ensembles.diversity import diversity
from optagent.ensembles.greedy import greedy
from optagent.ensembles.holdout_test import judged
from optagent.ensembles.members import Members
from optagent.ensembles.methods import SEARCHES, WITH_FEATURES, GainsFor, LearningData, gains_in_process, searches_of
from optagent.ensembles.row_split import RowSplit, parts_of
from optagent.ensembles.shares import latency_of, weights_of
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.target import Target, best_of, target_of
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.combined import Combined, combine
from optagent.training.metrics import Metric
from optagent.training.problem import Fold

MIN_ROWS = 1000
"""Weights learned on fewer rows have no advantage over the best single model that would outlast them."""

_TIE = 1e-4  # of the best: searches that are this close differ by nothing that a pick on some rows could tell


@dataclass(frozen=True, slots=True)
class EnsembleGoal:
    """What is wanted: the first metric has to improve by an interval of confidence `1 - alpha`, and no other one may
    become worse by one."""

    metrics: tuple[Metric, ...]
    method: str = "auto"
    budget: EnsembleBudget = field(default_factory=EnsembleBudget)
    alpha: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MemberData:
    """Members, and what else is known of their rows."""

    members: Members
    spec: ModelSpec
    time: Vector | None = None
    features: StackFeatures | None = None

    def ground(
        self, rows: Rows, folds: tuple[Fold, ...], library: Rows, target: Target, gains_for: GainsFor
    ) -> LearningData:
        features = None if self.features is None else self.features.at(rows)
        return LearningData(self.members.at(rows).only(library), target, folds, features, gains_for)


def choose(evidence: MemberData, ask: EnsembleGoal, gains_for: GainsFor = gains_in_process) -> EnsembleChoice:
    """A search that cannot be made is left out, with a note.

    Raises InvalidRequest for an unknown method and for a budget that no model meets, and InvalidData where a metric is
    undefined on the rows.
    """
    members = evidence.members
    searches_of(ask.method)
    ask.budget.check(members)
    try:
        parts = parts_of(evidence.spec, members.y, evidence.time, ask.seed)
    except InvalidData as error:
        return _kept(members, ask, f"there are no rows to judge an ensemble by: {error}")
    if len(parts.learn) < MIN_ROWS:
        reason = f"weights learned on {len(parts.learn):,} rows would not last, {MIN_ROWS:,} are needed"
        return _kept(members, ask, reason)
    return _chosen(evidence, parts, ask, gains_for)


def _chosen(evidence: MemberData, parts: RowSplit, ask: EnsembleGoal, gains_for: GainsFor) -> EnsembleChoice:
    learn = evidence.members.at(parts.learn)
    target = target_of(learn, ask.metrics)
    library = _within(ask.budget, evidence.members.at(parts.fit), target, gains_for)
    if len(library) < 2:
        return _kept(learn, ask, "no two models that meet the budget together are better than one alone")
    first, again = (
        evidence.ground(rows, folds, library, target, gains_for)
        for rows, folds in ((parts.fit, parts.fit_folds), (parts.learn, parts.learn_folds))
    )
    made, notes = _made(ask.method, first)
    pick = evidence.ground(parts.pick, (), library, target, gains_for)
    options = _options(made, pick)
    try:
        search = _picked(options)
        ensemble = SEARCHES[search](again)
    except InvalidRequest as error:
        return replace(_kept(learn, ask, f"no search came to an end: {error}"), notes=notes, options=options)
    single = best_single(learn, target, ask.budget)
    ordered = evidence.time is not None
    groups = None if evidence.time is None else evidence.time[parts.verdict]
    how = Resampling(seed=ask.seed, time_ordered=ordered, groups=groups)
    verdict = evidence.ground(parts.verdict, (), np.arange(len(learn)), target, gains_for)
    choice = judged(verdict, ensemble, single, how, ask.alpha)
    return replace(
        choice, search=search, learned_rows=len(parts.learn), options=options, notes=(*evidence.members.notes, *notes)
    )


def best_single(members: Members, target: Target, budget: EnsembleBudget) -> int:
    """The position of the best model that meets the budget."""
    alone = budget.admits(members, np.zeros(len(members), dtype=bool))
    return best_of(np.where(alone, target.singles(members), -np.inf), members.by_name)


def _kept(members: Members, ask: EnsembleGoal, reason: str) -> EnsembleChoice:
    single = members.names[best_single(members, target_of(members, ask.metrics), ask.budget)]
    return EnsembleChoice(False, single, f"{reason}: {single} is kept", notes=members.notes)


def _within(budget: EnsembleBudget, members: Members, target: Target, gains_for: GainsFor) -> Rows:
    """The members that a search may use: all, or as many as meet the budget, those that greedy weights would take."""
    if budget.holds_all(members):
        return np.arange(len(members))
    return np.flatnonzero(greedy(members, target, budget=budget, ask=gains_for(members, target)))


def _made(method: str, ground: LearningData) -> tuple[dict[str, Combined], tuple[str, ...]]:
    made, notes = {}, []
    for name in searches_of(method):
        if name == WITH_FEATURES and ground.features is None:
            continue
        try:
            made[name] = SEARCHES[name](ground)
        except InvalidRequest as error:
            notes.append(f"{name} was left out: {error}")
    return made, tuple(notes)


def _options(made: Mapping[str, Combined], pick: LearningData) -> tuple[EnsembleOption, ...]:
    options = [_option(name, ensemble, pick) for name, ensemble in made.items()]
    if not options:
        return ()
    signs = np.array([1.0 if metric.maximize else -1.0 for metric in pick.target.metrics])
    points = np.array([[*(signs * list(one.scores.values())), -(one.latency_ms or 0.0)] for one in options])
    return tuple(replace(one, on_front=bool(rank == 0)) for one, rank in zip(options, fronts(points), strict=True))


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


def _picked(options: tuple[EnsembleOption, ...]) -> str:
    """The best; of those that are as good the most diverse, then the one of fewest models."""
    if not options:
        raise InvalidRequest("all were left out")
    best = max(one.worth for one in options)
    tied = [one for one in options if one.worth >= best - _TIE * abs(best)]
    return max(tied, key=lambda one: (one.diversity, -one.models)).search
