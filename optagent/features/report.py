"""Report of a proposal: every column and every feature with its scores, and the reasons in words."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.features.collinearity import rank_correlation, variance_inflation
from optagent.features.context import FeatureSearchContext
from optagent.features.keep import KeptSteps
from optagent.features.proposal import ColumnReport, FeatureReport
from optagent.features.quality import LEAK, ColumnQuality
from optagent.features.screening import ScreeningResult
from optagent.features.screening_statistics import Screen, step_values
from optagent.features.searches import FeatureSearch
from optagent.features.stability import drift_over_blocks, rank_stability, stability
from optagent.training.plan import FeaturePlan
from optagent.training.steps import Step
from optagent.training.transform import apply_plan

_ALIKE = 0.9
"""Two searches found the same feature where the ranks of their features correlate by at least this."""


def agreement_of_searches(screening: ScreeningResult, selections: Sequence[KeptSteps]) -> dict[Step, float]:
    """For each feature of the last search, the share of the other searches that found it, or one that ranks alike."""
    *others, last = selections
    steps = list(dict.fromkeys(step for each in selections for step in each.kept))
    if not others or not last.kept:
        return dict.fromkeys(last.kept, 0.0)
    values = step_values(screening.screen.data, steps)
    alike = np.abs(rank_correlation(np.ascontiguousarray(values.T))) >= _ALIKE
    place = {step: index for index, step in enumerate(steps)}

    def share_of_searches(step: Step) -> float:
        return float(np.mean([any(alike[place[step], place[other]] for other in each.kept) for each in others]))

    return {step: share_of_searches(step) for step in last.kept}


def feature_reports(
    context: FeatureSearchContext,
    screening: ScreeningResult,
    selection: KeptSteps,
    shares: Mapping[Step, float],
    plan: FeaturePlan | None = None,
    importances: Mapping[str, float] | None = None,
) -> tuple[FeatureReport, ...]:
    """Reports of the features kept, then of those that passed the bar and were removed for another reason."""
    p_values = {**selection.kept, **{step: p_value for step, (p_value, _) in selection.gone.items()}}
    if not p_values:
        return ()
    drift = _drift(context, step_values(screening.screen.data, list(p_values)).T)
    inflation = {} if plan is None else _inflation(plan, screening.screen)
    names = set() if plan is None else set(plan.names)
    reports = []
    for step, drift_of_step in zip(p_values, drift, strict=True):
        share = shares.get(step, 0.0)
        why = selection.gone[step][1] if step in selection.gone else ""
        if not why and step.name not in names:
            why = f"found again in {share:.0%} of the folds only"
        reports.append(
            FeatureReport(
                name=step.name,
                step=step,
                kept=not why,
                why=why,
                p_value=p_values[step],
                found_again=share,
                drift=float(drift_of_step),
                score=float((1 - drift_of_step) * share),
                importance=(importances or {}).get(step.name),
                inflation=inflation.get(step.name),
            )
        )
    return tuple(sorted(reports, key=lambda feature: not feature.kept))


def column_reports(
    context: FeatureSearchContext,
    columns: Sequence[ColumnQuality],
    searches: Sequence[FeatureSearch],
    idle: Sequence[str],
) -> tuple[ColumnReport, ...]:
    """One report for each column of the input."""
    data = context.problem.data
    drift = _drift(context, data.x, data.categorical)
    importances = searches[-1].importances if searches else np.zeros((1, len(columns)))
    ranks = rank_stability(importances)
    scores = stability(drift, ranks)
    return tuple(
        ColumnReport(
            name=column.name,
            missing=column.missing,
            importance=float(importances[:, index].mean()),
            drift=float(drift[index]),
            rank_stability=float(ranks[index]),
            score=float(scores[index]),
            alone=column.alone,
            trouble=describe_trouble(column, context) or ("no better than a shadow" if column.name in idle else ""),
        )
        for index, column in enumerate(columns)
    )


def describe_trouble(column: ColumnQuality, context: FeatureSearchContext) -> str:
    """The defect of a column in words; empty where there is none."""
    if column.constant:
        return "holds one value only"
    if column.leaks:
        measure = "AUC" if context.problem.data.task.classifies else "R2"
        return (
            f"has {measure} {column.alone:.3f} by itself, above {LEAK}: is it known when a row is served?"
            " Nothing was made of it"
        )
    return f"ranks rows as {column.copy_of!r} does" if column.copy_of else ""


def reason_for_nothing(context: FeatureSearchContext, screening: ScreeningResult, selection: KeptSteps) -> str:
    """The reason why a search kept no feature, in words."""
    count = screening.candidates
    if selection.gone:
        reasons = sorted({reason for _, reason in selection.gone.values()})
        return f"of {count:,} candidates {selection.above} were above the bar, and none was left: {', '.join(reasons)}"
    if selection.above:
        return f"of {count:,} candidates {selection.above} were above the bar, but single columns explain as much"
    questions = screening.questions_of_search(screening.searches - 1)
    highest = np.max([block.statistics.max(axis=0) for block in screening.blocks], axis=0)[list(questions)]
    p_values = [bar.p_value(statistic) for bar, statistic in zip(screening.bars, highest, strict=True)]
    best = min(1.0, len(questions) * min(p_values))
    return (
        f"none of {count:,} candidates explains more of the residual than chance: the best has an adjusted p-value of"
        f" {best:.2g}, needed is {context.rules.alpha:g}"
    )


def _drift(context: FeatureSearchContext, x: np.ndarray, categorical: tuple[int, ...] = ()) -> np.ndarray:
    """(columns,) drift over blocks of time; 0 where rows are not in time order."""
    return drift_over_blocks(x, categorical) if context.how.time_ordered else np.zeros(x.shape[1])


def _inflation(plan: FeaturePlan, screen: Screen) -> dict[str, float]:
    inflation = variance_inflation(rank_correlation(apply_plan(plan, screen.data.x)))
    return dict(zip(plan.names, inflation.tolist(), strict=True))
