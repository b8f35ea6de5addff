"""The evidence for each column: its values, its missing ones and those never seen, each with what repetition costs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optagent.analysis.binned_counts import BinnedCounts
from optagent.analysis.drift_design import effect_at, window_effect
from optagent.analysis.drift_tests import (
    Sample,
    TestResult,
    category_evidence,
    ordered_evidence,
    persistent,
    share_evidence,
)
from optagent.analysis.profile import ColumnProfile, Profile
from optagent.arrays import Counts
from optagent.domain.drift import DriftCheck

_BLOCKS = 32  # of a window, for its design effect


@dataclass(frozen=True, slots=True, eq=False)
class WindowCounts:
    """Counts of a window, all together and by block of time."""

    counts: BinnedCounts
    total: Counts
    blocks: Counts

    @classmethod
    def of(cls, counts: BinnedCounts) -> "WindowCounts":
        return cls(counts, counts.total(), counts.blocks(_BLOCKS))

    def cells(self, column: int, check: DriftCheck, of: Counts) -> Counts:
        """(..., bins) of values, or (..., 2) of those that are not and those that are missing or unseen."""
        values = self.counts.values(column, of)
        if check is DriftCheck.VALUES:
            return values
        if check is DriftCheck.MISSING:
            return np.stack([values.sum(axis=-1), self.counts.missing(column, of)], axis=-1)
        return np.stack([values[..., :-1].sum(axis=-1), values[..., -1]], axis=-1)


@dataclass(frozen=True, slots=True)
class ColumnEvidence:
    """One test of one column, not yet compared with the others; `pair` is the p-value over both windows."""

    check: DriftCheck
    now: TestResult
    before: TestResult | None
    pair: float | None


def column_evidence(
    profile: Profile, column: int, now: WindowCounts, before: WindowCounts | None
) -> Iterator[ColumnEvidence]:
    """The tests for which there is something to compare."""
    for check in DriftCheck:
        then = _reference(profile, profile.columns[column], check)
        if then is None or not then.rows:
            continue
        found = _evidence(profile, column, check, then, now)
        if found is None:
            continue
        earlier = None if before is None else _evidence(profile, column, check, then, before)
        pair = None if earlier is None else persistent(found, earlier, 1 / then.effective)
        yield ColumnEvidence(check, found, earlier, pair)


def _reference(profile: Profile, column: ColumnProfile, check: DriftCheck) -> Sample | None:
    values = np.array(column.counts, dtype=np.int64)
    if check is DriftCheck.MISSING:
        counts = np.array([values.sum(), column.missing])
    elif check is DriftCheck.UNSEEN:
        if column.ordered:
            return None
        counts = np.array([values[:-1].sum(), values[-1]])
    else:
        counts = values
    return _sample(counts, effect_at(profile.blocks, _effects(column, check), profile.rows))


def _evidence(
    profile: Profile, column: int, check: DriftCheck, then: Sample, window: WindowCounts
) -> TestResult | None:
    known = profile.columns[column]
    counts = window.cells(column, check, window.total)
    rows = int(counts.sum())
    if not rows or (check is not DriftCheck.VALUES and not counts[1] and not then.counts[1]):
        return None
    ordered = known.ordered and check is DriftCheck.VALUES
    inside = window_effect(window.cells(column, check, window.blocks), ordered)
    sample = _sample(counts, max(inside, effect_at(profile.blocks, _effects(known, check), rows)))
    if check is not DriftCheck.VALUES:
        return share_evidence(then, sample)
    return ordered_evidence(then, sample) if ordered else category_evidence(then, sample)


def _effects(column: ColumnProfile, check: DriftCheck) -> tuple[float, ...]:
    return column.design_missing if check is DriftCheck.MISSING else column.design


def _sample(counts: Counts, design: float) -> Sample:
    """Worth one row at least."""
    return Sample(counts, min(design, max(1.0, float(counts.sum()))))
