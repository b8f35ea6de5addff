"""Proposal of generated features, from a problem to a plan: search, nested test, report.

The test is nested. For every fold, features are searched for on its training rows alone (out-of-fold residuals, bar,
pursuit and shadows included), the model is trained on those rows with and without them, and both predict the fold's
validation rows. The paired interval over all folds therefore covers only rows that no search saw, and it tests the
search; the proposed features are those that the same search finds on all rows, as far as the folds' searches agree. All
searches share the ranks of the columns and the list of columns that leak the target, which are left out.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optagent.analysis.bootstrap import Resampling
from optagent.errors import InvalidData
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.features.keep import keep_steps
from optagent.features.nested_test import NestedResult, improvement, run_nested_test
from optagent.features.proposal import FeatureProposal, ProposalLimits, ProposalRules
from optagent.features.quality import column_qualities
from optagent.features.refits import PlainFits, learner_for
from optagent.features.report import (
    agreement_of_searches,
    column_reports,
    describe_trouble,
    feature_reports,
    reason_for_nothing,
)
from optagent.features.screening import ScreeningResult, screen_candidates
from optagent.features.screening_statistics import Spread, screen_serially
from optagent.features.searches import FeatureSearch, prepare_search
from optagent.training.families.family import Family
from optagent.training.families.sklearn_linear import Linear
from optagent.training.metrics import Metric
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Problem

_LINEAR = frozenset({Linear.name})


def propose_features(
    problem: Problem,
    family: Family,
    metric: Metric,
    *,
    params: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    dates: Collection[str] = (),
    how: Resampling | None = None,
    limits: ProposalLimits | None = None,
    rules: ProposalRules | None = None,
    seed: int = 0,
    threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
    spread: Spread = screen_serially,
) -> FeatureProposal:
    """Features that make this family better at the metric by its paired out-of-fold interval, or the reason why there
    are none.

    `params` and `rounds` are the current model's, by default the family's with the number of rounds that suits the
    plain columns. `dates` names columns of days since 1970. `how` says how rows are resampled for the interval
    (`groups` by row of the problem); its `time_ordered` says that rows are in time order. `spread` may run blocks
    elsewhere, see `Spread`. Raises Infeasible where the plain model cannot be trained.
    """
    limits = limits or ProposalLimits()
    deadline = clock() + limits.seconds

    def late() -> bool:
        return clock() >= deadline

    context = FeatureSearchContext(
        problem=problem,
        learner=learner_for(problem, family, metric, params, rounds, seed, threads, late),
        metric=metric,
        how=how or Resampling(seed=seed),
        limits=limits,
        rules=rules or ProposalRules(),
        seed=seed,
        dates=frozenset(dates),
        flexible=family.name not in _LINEAR,
        late=late,
    )
    return _propose_within_memory(context, spread)


def _propose_within_memory(context: FeatureSearchContext, spread: Spread) -> FeatureProposal:
    data, limits, notes = context.problem.data, context.limits, []
    proposal = FeatureProposal(False, "", context.metric.name, rounds=context.learner.rounds)
    most_features = context.cells // len(data) - len(data.names)
    if most_features < 1:
        return replace(proposal, why=f"{limits.memory_mb:g} MB do not hold the rows with one column more")
    if most_features < limits.features:
        notes.append(f"no more than {most_features} features, which {limits.memory_mb:g} MB hold beside the columns")
        context = replace(context, limits=replace(limits, features=most_features))
    columns, fits = column_qualities(data), PlainFits(context.learner, context.problem)
    notes += [f"{column.name}: {describe_trouble(column, context)}" for column in columns if column.leaks]
    searches = _prepare_searches(context, fits)
    if searches:
        proposal = _propose_from_screening(
            context, fits, searches, screen_candidates(context, searches, columns, spread, notes), proposal
        )
    else:
        proposal = replace(proposal, why=_reason_for_no_search(context))
    idle = proposal.plan.dropped if proposal.plan else ()
    return replace(proposal, columns=column_reports(context, columns, searches, idle), notes=tuple(notes))


def _prepare_searches(context: FeatureSearchContext, fits: PlainFits) -> list[FeatureSearch]:
    """One search for each fold that can be searched, and last the one on all rows; no search at all where that one is
    impossible."""
    searches = []
    for fold in (*range(len(context.problem.folds)), None):
        search = None if context.late() else prepare_search(context.problem, fits, fold)
        if search is not None:
            searches.append(search)
    return searches if searches and searches[-1].fold is None else []


def _reason_for_no_search(context: FeatureSearchContext) -> str:
    if context.late():
        return f"{context.limits.seconds:g} s were up before the plain model was trained on every fold"
    return "too few rows can be predicted out of fold to search in"


def _propose_from_screening(
    context: FeatureSearchContext,
    fits: PlainFits,
    searches: Sequence[FeatureSearch],
    screening: ScreeningResult,
    proposal: FeatureProposal,
) -> FeatureProposal:
    proposal = replace(proposal, candidates=screening.candidates)
    if not screening.blocks:
        why = f"{context.limits.seconds:g} s were up" if context.late() else "no two columns can be combined"
        return replace(proposal, why=f"no candidate was looked at: {why}")
    last = keep_steps(context, screening, searches[-1], len(searches) - 1)
    if not last.kept and not last.idle:
        features = feature_reports(context, screening, last, {})
        return replace(proposal, why=reason_for_nothing(context, screening, last), features=features)
    selections = [*(keep_steps(context, screening, search, at) for at, search in enumerate(searches[:-1])), last]
    again = agreement_of_searches(screening, selections)
    agreed = [step for step, share in again.items() if share >= context.rules.agreement]
    if not agreed and not last.idle:
        features = feature_reports(context, screening, last, again)
        names = ", ".join(step.name for step in again)
        why = f"fewer than {context.rules.agreement:.0%} of the folds' own searches find {names} again"
        return replace(proposal, why=why, features=features)
    plan = fit_plan(context.problem.data, agreed, dropped=last.idle)
    outcome = run_nested_test(context, fits, searches, selections)
    importances = None if isinstance(outcome, str) else outcome.importances
    features = feature_reports(context, screening, last, again, plan, importances)
    proposal = replace(proposal, plan=plan, features=features)
    return (
        replace(proposal, why=outcome) if isinstance(outcome, str) else _with_verdict(context, outcome, plan, proposal)
    )


def _with_verdict(
    context: FeatureSearchContext, outcome: NestedResult, plan: FeaturePlan, proposal: FeatureProposal
) -> FeatureProposal:
    y = context.problem.data.y[outcome.rows]
    try:
        interval = improvement(context, outcome)
        plain, score = context.metric.score(y, outcome.plain), context.metric.score(y, outcome.engineered)
    except InvalidData as error:
        return replace(proposal, why=f"it cannot be told: {error}")
    count = len(plan.steps)
    features = f"{count} feature{'' if count == 1 else 's'}"
    scores = f"{context.metric.name} {plain:.5g} becomes {score:.5g}"
    gain = f"better by {interval.estimate:.3g} ({interval.low:.3g} to {interval.high:.3g})"
    better = interval.low > 0
    why = (
        f"{features}: {scores}, {gain}"
        if better
        else f"not proven: with {features} {scores}, {gain} includes 0 or worse"
    )
    return replace(
        proposal,
        accepted=better,
        why=f"{why}, on {len(outcome.rows):,} rows that no search saw",
        improvement=interval,
        judged_rows=len(outcome.rows),
        plain_score=plain,
        score=score,
    )
