"""Drift summary of one column, then and now: shares and means, distances, and its tests."""

import numpy as np

from optagent.analysis import distances
from optagent.analysis.drift_evidence import WindowCounts
from optagent.analysis.profile import ColumnProfile
from optagent.arrays import Counts
from optagent.domain.drift import ColumnDrift, DriftCheck, DriftStatus, DriftTest, Summary

GRAVITY = (DriftStatus.UNKNOWN, DriftStatus.STABLE, DriftStatus.SUSPECTED, DriftStatus.DRIFTED)

_SHOWN = 20  # categories of a summary


def column_drift(
    reference: ColumnProfile,
    column: int,
    window: WindowCounts,
    weight: float,
    tests: tuple[DriftTest, ...],
    effective_rows: float,
) -> ColumnDrift:
    """The column at place `column` of the profile, in the window."""
    then = np.array(reference.counts, dtype=np.int64)
    now = window.cells(column, DriftCheck.VALUES, window.total)
    missing = int(window.counts.missing(column, window.total))
    mean = window.counts.mean(column, window.total)
    gravest = max(tests, key=lambda test: (GRAVITY.index(test.status), test.effect), default=None)
    column_distances = _distances(reference, then, now, mean) if then.sum() and now.sum() else {}
    return ColumnDrift(
        name=reference.name,
        kind=reference.kind,
        status=DriftStatus.UNKNOWN if gravest is None else gravest.status,
        effect=0.0 if gravest is None else gravest.effect,
        weight=weight,
        then=_summary(reference, then, reference.missing, reference.mean),
        now=_summary(reference, now, missing, mean),
        effective_rows=effective_rows,
        tests=tests,
        **column_distances,
    )


def _distances(reference: ColumnProfile, then: Counts, now: Counts, mean: float | None) -> dict[str, float]:
    if not reference.is_ordered:
        return {
            "psi": distances.population_stability(then, now),
            "jensen_shannon": distances.jensen_shannon(then, now),
            "cramers_v": distances.cramers_v(then, now),
        }
    coarse = distances.tenths(then, now)
    shift = 0.0 if mean is None or reference.mean is None else (mean - reference.mean) / reference.unit
    edges = np.array(reference.edges) / reference.unit
    return {
        "psi": distances.population_stability(*coarse),
        "jensen_shannon": distances.jensen_shannon(*coarse),
        "wasserstein": distances.wasserstein(then, now, edges, shift),
    }


def _summary(reference: ColumnProfile, counts: Counts, missing: int, mean: float | None) -> Summary:
    present = int(counts.sum())
    rows = present + missing
    summary = Summary(rows=rows, missing=missing / rows if rows else 0.0, mean=mean)
    if not present:
        return summary
    if reference.is_ordered:
        outside = int(counts[0] + counts[-1]) if len(counts) > 1 else present
        return Summary(rows, summary.missing, outside=outside / present, mean=mean)
    frequent = np.argsort(-counts[:-1], kind="stable")[:_SHOWN]
    shares = {reference.labels[code]: float(counts[code]) / present for code in frequent.tolist()}
    return Summary(rows, summary.missing, unseen=int(counts[-1]) / present, shares=shares)
