"""Label history: the ages at which a model's labels came, counted for one stretch of requests after the other.

A cohort is counted when its requests are as old as it is long, and again each time that their age has doubled, until
labels have matured: at most seven cohorts a window. The counts of all that were counted, each up to its own age, make
the curve.
"""

import asyncio
import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from optagent.analysis.label_join import Labels, deduplicate_rows, first_label_times, join_labels, sample_by_id
from optagent.analysis.label_maturity import (
    MATURE,
    Bins,
    MaturityCurve,
    bin_end,
    bins_of_ages,
    label_maturity,
    maturing_age,
    maturity_curve,
)
from optagent.analysis.label_slowing import label_slowing
from optagent.analysis.maturity_weights import outcome_edges, outcome_groups
from optagent.arrays import Vector
from optagent.domain.label_maturity import LabelCohort, LabelHistory, LabelMaturity
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.loop.observe.window_rows import EARLY_LABELS_S, labels_of
from optagent.ports import Observations, Store
from optagent.training.encoding import Schema

_MOST_COHORTS = 64
_FIRST_COHORTS = 32  # of a model whose labels were never counted
_LEAST_COHORTS = 8
_COHORTS_A_DELAY = 16  # of the users' bound
_MOST_OUTCOMES = 20
_MOST_ROWS = 100_000  # of a cohort: more are sampled
_ROWS_A_PASS = 500_000
_SPANS = 4.0  # times the age of matured labels: so far back labels are counted
_DOUBLED = 1.9  # the age of a count is known to one bin


@dataclass(frozen=True, slots=True, eq=False)
class LabelSource:
    """The recorded rows of a model, and the form of its labels.

    `reference_y` are the labels of the reference, whose quartiles are the outcomes of a regression. `window_s` is the
    length of a performance window.
    """

    spec: ModelSpec
    schema: Schema
    reference_y: Vector
    window_s: float
    observations: Observations


async def refresh_label_history(source: LabelSource, store: Store, now: float, saves: bool) -> LabelHistory:
    """The history of a model's labels at `now`, with what is due counted anew, and stored if it `saves`; raises
    Unavailable."""
    history = await store.label_history(source.spec.model_id)
    newest = await asyncio.to_thread(count_due_cohorts, history, source, now)
    if saves and newest != history:
        await store.save_label_history(source.spec.model_id, newest)
    return newest


def count_due_cohorts(history: LabelHistory, source: LabelSource, now: float) -> LabelHistory:
    """The history with the cohorts counted that are due at `now`; reads at most some 500,000 rows, the newest first."""
    history = _history_for(history, source)
    cohorts = {cohort.start: cohort for cohort in history.cohorts}
    due = due_starts(history, source.spec.label_delay_s, now)
    if not due:
        return history
    recorded = source.observations.labels(source.spec.model_id, min(due) - EARLY_LABELS_S)
    labels, rows = labels_of(recorded, source.schema), 0
    for start in due:
        if rows > _ROWS_A_PASS:
            break
        cohort = _count_cohort(history, source, labels, start, now)
        rows += cohort.rows
        cohorts[start] = _with_backdated(cohort, cohorts.get(start))
    return replace(history, cohorts=tuple(cohorts[start] for start in sorted(cohorts)[-_MOST_COHORTS:]))


def due_starts(history: LabelHistory, label_delay_s: float, now: float) -> list[float]:
    """The starts of the cohorts to count at `now`, the newest first."""
    length = history.length_s
    last_reach = {cohort.start: cohort.reach for cohort in history.cohorts}
    newest = math.floor(now / length) - 2  # the newest whose requests are all one length old
    due = []
    for back in range(_span_of(history, label_delay_s)):
        start = (newest - back) * length
        age = now - start - length
        if start not in last_reach or age >= _DOUBLED * bin_end(last_reach[start] - 1):
            due.append(start)
    return due


async def awaited_delay(spec: ModelSpec, store: Store) -> float:
    """The seconds after which the labels of a window are judged; see `maturing_age`."""
    history = await store.label_history(spec.model_id)
    estimate = maturity_curve(history, spec.label_delay_s, draws=1)
    return maturing_age(None if isinstance(estimate, str) else estimate, spec.label_delay_s)


def maturity_of(
    history: LabelHistory | None, spec: ModelSpec, monitoring: Monitoring
) -> tuple[MaturityCurve | None, LabelMaturity | None]:
    """The curve of a history, None where there is none, and how the labels mature, with the test for slower ones."""
    if history is None or not history.cohorts:
        return None, None
    estimate = maturity_curve(history, spec.label_delay_s)
    curve = None if isinstance(estimate, str) else estimate
    slowing = label_slowing(history, curve, monitoring.false_alarm_every_s)
    return curve, replace(label_maturity(history, estimate, spec.label_delay_s), slowing=slowing)


def _span_of(history: LabelHistory, label_delay_s: float) -> int:
    """The number of cohorts back to which labels are counted."""
    if not history.cohorts:
        return _FIRST_COHORTS
    estimate = maturity_curve(history, label_delay_s, draws=1)
    if isinstance(estimate, str):
        return _MOST_COHORTS
    age = max(_SPANS * estimate.age_of(MATURE), 2 * label_delay_s)
    return min(_MOST_COHORTS, max(_LEAST_COHORTS, math.ceil(age / history.length_s) + 1))


def _history_for(history: LabelHistory, source: LabelSource) -> LabelHistory:
    """The history, or an empty one where the windows or the classes are no longer those that were counted."""
    spec, window_s = source.spec, source.window_s
    length = window_s * max(1, math.ceil(spec.label_delay_s / (_COHORTS_A_DELAY * window_s)))
    edges = history.edges or outcome_edges(source.reference_y, spec.task)
    names = map(str, source.schema.classes[:_MOST_OUTCOMES])
    outcomes = tuple(names) if spec.task.classifies else _part_names(edges)
    if (history.length_s, history.outcomes) == (length, outcomes):
        return history
    return LabelHistory(length, outcomes, edges)


def _part_names(edges: tuple[float, ...]) -> tuple[str, ...]:
    if not edges:
        return ("any value",)
    middle = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:.4g}", *middle, f"from {edges[-1]:.4g}")


def _count_cohort(history: LabelHistory, source: LabelSource, labels: Labels, start: float, now: float) -> LabelCohort:
    end = start + history.length_s
    predictions = source.observations.predictions(source.spec.model_id, start, end)
    rows = sample_by_id(deduplicate_rows(predictions), _MOST_ROWS)
    reach = int(bins_of_ages(np.array([now - end]))[0])
    joined = join_labels(rows.ids, rows.time_us, labels)
    came_us = first_label_times(rows.ids, labels)
    came = ~np.isnan(joined.y) & (came_us >= 0)
    groups = outcome_groups(joined.y[came], len(history.outcomes), history.edges)
    bins = bins_of_ages((came_us[came] - rows.time_us[came]) / 1e6)
    return LabelCohort(start, len(rows), reach, _counts_by_outcome(groups, bins, len(history.outcomes), reach))


def _counts_by_outcome(groups: Bins, bins: Bins, n_outcomes: int, reach: int) -> tuple[dict[int, int], ...]:
    counts = []
    for outcome in range(n_outcomes):
        indices, labels = np.unique(bins[(groups == outcome) & (bins < reach)], return_counts=True)
        counts.append(dict(zip(indices.tolist(), labels.tolist(), strict=True)))
    return tuple(counts)


def _with_backdated(cohort: LabelCohort, before: LabelCohort | None) -> LabelCohort:
    """The cohort, with the number of labels that the count before should have seen by their times."""
    if before is None:
        return cohort
    by_then = sum(labels for by_bin in cohort.counts for index, labels in by_bin.items() if index < before.reach)
    return replace(cohort, backdated=before.backdated + max(0, by_then - before.labels))
