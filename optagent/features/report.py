"""The account of a proposal: every column and every feature with its scores, and the reasons in words."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.features.collinearity import rank_correlation, variance_inflation
from optagent.features.context import FeatureSearchContext
from optagent.features.keep import KeptSteps
from optagent.features.proposal import ColumnReport, FeatureReport
from optagent.features.quality import LEAK, ColumnQuality
from optagent.features.screening import ScreeningResult
from optagent.features.screening_statistics import Screen, values_of
from optagent.features.searches import FeatureSearch
from optagent.features.stability import drift_over_blocks, rank_stability, stability
from optagent.training.plan import FeaturePlan, Step
from optagent.training.transform import apply

_ALIKE = 0.9
"""Features whose ranks correlate by this are taken for the same find in two searches."""


def agreement(looked: ScreeningResult, found: Sequence[KeptSteps]) -> dict[Step, float]:
    """Of each feature of the last search, the share of the others that found it or one that ranks rows alike."""
    *others, last = found
    every = list(dict.fromkeys(step for chosen in found for step in chosen.kept))
    if not others or not last.kept:
        return dict.fromkeys(last.kept, 0.0)
    values = values_of(looked.screen.data, every)
    alike = np.abs(rank_correlation(np.ascontiguousarray(values.T))) >= _ALIKE
    place = {step: index for index, step in enumerate(every)}

    def again(step: Step) -> float:
        return float(np.mean([any(alike[place[step], place[other]] for other in each.kept) for each in others]))

    return {step: again(step) for step in last.kept}


def feature_reports(
    work: FeatureSearchContext,
    looked: ScreeningResult,
    last: KeptSteps,
    again: Mapping[Step, float],
    plan: FeaturePlan | None = None,
    importances: Mapping[str, float] | None = None,
) -> tuple[FeatureReport, ...]:
    """Those kept first, then those that were above the bar in their turn and went for another reason."""
    known = {**last.kept, **{step: p_value for step, (p_value, _) in last.gone.items()}}
    if not known:
        return ()
    drift = _drift(work, values_of(looked.screen.data, list(known)).T)
    inflation = {} if plan is None else _inflation(plan, looked.screen)
    names = set() if plan is None else set(plan.names)
    found = []
    for step, moved in zip(known, drift, strict=True):
        share = again.get(step, 0.0)
        why = last.gone[step][1] if step in last.gone else ""
        if not why and step.name not in names:
            why = f"found again in {share:.0%} of the folds only"
        found.append(
            FeatureReport(
                name=step.name,
                step=step,
                kept=not why,
                why=why,
                p_value=known[step],
                found_again=share,
                drift=float(moved),
                score=float((1 - moved) * share),
                importance=(importances or {}).get(step.name),
                inflation=inflation.get(step.name),
            )
        )
    return tuple(sorted(found, key=lambda feature: not feature.kept))


def column_reports(
    work: FeatureSearchContext, columns: Sequence[ColumnQuality], searches: Sequence[FeatureSearch], idle: Sequence[str]
) -> tuple[ColumnReport, ...]:
    """Every column as it came."""
    data = work.problem.data
    drift = _drift(work, data.x, data.categorical)
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
            trouble=trouble(column, work) or ("no better than a shadow" if column.name in idle else ""),
        )
        for index, column in enumerate(columns)
    )


def trouble(column: ColumnQuality, work: FeatureSearchContext) -> str:
    """What is wrong with a column, in words; empty for nothing."""
    if column.constant:
        return "holds one value only"
    if column.leaks:
        measure = "AUC" if work.problem.data.task.classifies else "R2"
        return (
            f"has {measure} {column.alone:.3f} by itself, above {LEAK}: is it known when a row is served?"
            " Nothing was made of it"
        )
    return f"ranks rows as {column.copy_of!r} does" if column.copy_of else ""


def nothing_found(work: FeatureSearchContext, looked: ScreeningResult, last: KeptSteps) -> str:
    """Why a search ended without a feature."""
    count = looked.candidates
    if last.gone:
        reasons = sorted({reason for _, reason in last.gone.values()})
        return f"of {count:,} candidates {last.above} were above the bar, and none was left: {', '.join(reasons)}"
    if last.above:
        return f"of {count:,} candidates {last.above} were above the bar, but single columns explain as much"
    own = looked.own(looked.searches - 1)
    highest = np.max([block.statistics.max(axis=0) for block in looked.blocks], axis=0)[list(own)]
    chances = [bar.p_value(statistic) for bar, statistic in zip(looked.bars, highest, strict=True)]
    best = min(1.0, len(own) * min(chances))
    return (
        f"none of {count:,} candidates explains more of the residual than chance: the best has an adjusted p-value of"
        f" {best:.2g}, needed is {work.rules.alpha:g}"
    )


def _drift(work: FeatureSearchContext, x: np.ndarray, categorical: tuple[int, ...] = ()) -> np.ndarray:
    """Only rows in time order can drift."""
    return drift_over_blocks(x, categorical) if work.how.time_ordered else np.zeros(x.shape[1])


def _inflation(plan: FeaturePlan, screen: Screen) -> dict[str, float]:
    found = variance_inflation(rank_correlation(apply(plan, screen.data.x)))
    return dict(zip(plan.names, found.tolist(), strict=True))
