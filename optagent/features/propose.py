"""A proposal of features, from a problem to a plan with its proof: search, judge, explain.

The proof is nested. For every fold, features are searched for on its training rows alone (out-of-fold residuals,
bar, pursuit and shadows included), the model is trained on those rows with and without them, and both predict the
fold's validation rows. The paired interval over all folds is thus of rows that no search saw, and it judges the search;
what is proposed are the features that the same search finds on all rows, as far as the folds' searches agree.
All searches share the ranks of the columns, and that columns which leak the target are left out.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optagent.analysis.bootstrap import Resampling
from optagent.errors import InvalidData
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.features.keep import choose
from optagent.features.nested_test import NestedResult, improvement, judged
from optagent.features.proposal import FeatureProposal, ProposalLimits, ProposalRules
from optagent.features.quality import quality
from optagent.features.refits import PlainFits, learner_for
from optagent.features.report import agreement, column_reports, feature_reports, nothing_found, trouble
from optagent.features.screening import ScreeningResult, look
from optagent.features.screening_statistics import Spread, serially
from optagent.features.searches import FeatureSearch, search_in
from optagent.training.families.family import Family
from optagent.training.families.sklearn_linear import Linear
from optagent.training.metrics import Metric
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Problem

_LINEAR = frozenset({Linear.name})


def engineer(
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
    spread: Spread = serially,
) -> FeatureProposal:
    """Features that make this family better at the metric by its paired out-of-fold interval, or why there are none.

    `params` and `rounds` are the current model's, by default the family's with the rounds that suit the plain columns.
    `dates` names columns of days since 1970. `how` says how rows are drawn for the interval (`groups` by row of the
    problem), and with `time_ordered` that rows are in time order. `spread` may run blocks elsewhere, see `Spread`.
    Raises Infeasible where the plain model cannot be trained.
    """
    limits = limits or ProposalLimits()
    end = clock() + limits.seconds

    def late() -> bool:
        return clock() >= end

    work = FeatureSearchContext(
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
    return _answered(work, spread)


def _answered(work: FeatureSearchContext, spread: Spread) -> FeatureProposal:
    data, limits, notes = work.problem.data, work.limits, []
    answer = FeatureProposal(False, "", work.metric.name, rounds=work.learner.rounds)
    room = work.cells // len(data) - len(data.names)
    if room < 1:
        return replace(answer, why=f"{limits.memory_mb:g} MB do not hold the rows with one column more")
    if room < limits.features:
        notes.append(f"no more than {room} features, which {limits.memory_mb:g} MB hold beside the columns")
        work = replace(work, limits=replace(limits, features=room))
    columns, fits = quality(data), PlainFits(work.learner, work.problem)
    notes += [f"{column.name}: {trouble(column, work)}" for column in columns if column.leaks]
    searches = _searches(work, fits)
    if searches:
        answer = _proposed(work, fits, searches, look(work, searches, columns, spread, notes), answer)
    else:
        answer = replace(answer, why=_no_search(work))
    idle = answer.plan.dropped if answer.plan else ()
    return replace(answer, columns=column_reports(work, columns, searches, idle), notes=tuple(notes))


def _searches(work: FeatureSearchContext, fits: PlainFits) -> list[FeatureSearch]:
    """One a fold that can be searched, and last the one on all rows; none where that one is impossible."""
    found = []
    for fold in (*range(len(work.problem.folds)), None):
        search = None if work.late() else search_in(work.problem, fits, fold)
        if search is not None:
            found.append(search)
    return found if found and found[-1].fold is None else []


def _no_search(work: FeatureSearchContext) -> str:
    if work.late():
        return f"{work.limits.seconds:g} s were up before the plain model was trained on every fold"
    return "too few rows can be predicted out of fold to search in"


def _proposed(
    work: FeatureSearchContext,
    fits: PlainFits,
    searches: Sequence[FeatureSearch],
    looked: ScreeningResult,
    answer: FeatureProposal,
) -> FeatureProposal:
    answer = replace(answer, candidates=looked.candidates)
    if not looked.blocks:
        why = f"{work.limits.seconds:g} s were up" if work.late() else "no two columns can be combined"
        return replace(answer, why=f"no candidate was looked at: {why}")
    last = choose(work, looked, searches[-1], len(searches) - 1)
    if not last.kept and not last.idle:
        features = feature_reports(work, looked, last, {})
        return replace(answer, why=nothing_found(work, looked, last), features=features)
    found = [*(choose(work, looked, search, at) for at, search in enumerate(searches[:-1])), last]
    again = agreement(looked, found)
    agreed = [step for step, share in again.items() if share >= work.rules.agreement]
    if not agreed and not last.idle:
        features = feature_reports(work, looked, last, again)
        shown = ", ".join(step.name for step in again)
        why = f"fewer than {work.rules.agreement:.0%} of the folds' own searches find {shown} again"
        return replace(answer, why=why, features=features)
    plan = fit_plan(work.problem.data, agreed, dropped=last.idle)
    outcome = judged(work, fits, searches, found)
    importances = None if isinstance(outcome, str) else outcome.importances
    features = feature_reports(work, looked, last, again, plan, importances)
    answer = replace(answer, plan=plan, features=features)
    return replace(answer, why=outcome) if isinstance(outcome, str) else _verdict(work, outcome, plan, answer)


def _verdict(
    work: FeatureSearchContext, outcome: NestedResult, plan: FeaturePlan, answer: FeatureProposal
) -> FeatureProposal:
    y = work.problem.data.y[outcome.rows]
    try:
        interval = improvement(work, outcome)
        plain, score = work.metric.score(y, outcome.plain), work.metric.score(y, outcome.engineered)
    except InvalidData as error:
        return replace(answer, why=f"it cannot be told: {error}")
    count = len(plan.steps)
    made = f"{count} feature{'' if count == 1 else 's'}"
    said = f"{work.metric.name} {plain:.5g} becomes {score:.5g}"
    between = f"better by {interval.estimate:.3g} ({interval.low:.3g} to {interval.high:.3g})"
    better = interval.low > 0
    why = f"{made}: {said}, {between}" if better else f"not proven: with {made} {said}, {between} includes 0 or worse"
    return replace(
        answer,
        accepted=better,
        why=f"{why}, on {len(outcome.rows):,} rows that no search saw",
        improvement=interval,
        judged_rows=len(outcome.rows),
        plain_score=plain,
        score=score,
    )
