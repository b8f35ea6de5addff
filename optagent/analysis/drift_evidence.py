"""Drift evidence of each column: tests of its values, missing values and unseen categories.

Where the reference holds enough of them, windows are compared with whole windows of it. Otherwise the design effects
come from blocks of rows, which cannot tell days that differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optagent.analysis.binned_counts import BinnedCounts
from optagent.analysis.column_groups import ColumnGroups
from optagent.analysis.drift_design import effect_at, window_effect
from optagent.analysis.drift_tests import (
    Sample,
    TwoSampleResult,
    chi_square_test,
    ks_test,
    persistent_p_value,
    proportion_test,
)
from optagent.analysis.profile import ColumnProfile, Profile
from optagent.analysis.window_evidence import ShareEvidence
from optagent.arrays import Counts, Vector
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
        """(..., bins) counts of values, or (..., 2) of the other rows and of those that are missing or unseen."""
        values = self.counts.values(column, of)
        if check is DriftCheck.VALUES:
            return values
        if check is DriftCheck.MISSING:
            return np.stack([values.sum(axis=-1), self.counts.missing(column, of)], axis=-1)
        return np.stack([values[..., :-1].sum(axis=-1), values[..., -1]], axis=-1)


@dataclass(frozen=True, slots=True)
class ColumnEvidence:
    """One test of one column, not yet compared with the others; `pair` is the p-value over windows in a row."""

    check: DriftCheck
    now: TwoSampleResult
    effect_before: float | None
    pair: float | None


def evidence_by_windows(profile: Profile, groups: ColumnGroups, evidence: ShareEvidence) -> list[list[ColumnEvidence]]:
    """The tests of each column, from the evidence on the shares of its groups."""
    columns: list[list[ColumnEvidence]] = [[] for _ in profile.columns]
    for test in groups.tests:
        shares = slice(test.start, test.stop)
        if not evidence.is_known[shares].any():
            continue
        ordered = profile.columns[test.column].is_ordered
        effects = [
            None if off is None else _effect(off[shares], halved=test.check is DriftCheck.VALUES and not ordered)
            for off in (evidence.off, evidence.off_before)
        ]
        size = test.stop - test.start
        noise = 1 / max(1.0, float(np.median(evidence.effective_rows[shares])))
        now = TwoSampleResult(effects[0] or 0.0, min(1.0, size * float(evidence.p_value[shares].min())), noise)
        pair = None if evidence.lasting is None else min(1.0, size * float(evidence.lasting[shares].min()))
        columns[test.column].append(ColumnEvidence(test.check, now, effects[1], pair))
    return columns


def _effect(off: Vector, halved: bool) -> float:
    """The total variation of groups of categories, or the largest distance."""
    return float(np.abs(off).sum()) / 2 if halved else float(np.abs(off).max())


def column_evidence(
    profile: Profile, column: int, now: WindowCounts, before: WindowCounts | None
) -> Iterator[ColumnEvidence]:
    """The tests of one column, of those checks for which there is something to compare."""
    for check in DriftCheck:
        then = _reference_sample(profile, profile.columns[column], check)
        if then is None or not then.rows:
            continue
        result = _test_window(profile, column, check, then, now)
        if result is None:
            continue
        earlier = None if before is None else _test_window(profile, column, check, then, before)
        pair = None if earlier is None else persistent_p_value(result, earlier, 1 / then.effective)
        yield ColumnEvidence(check, result, None if earlier is None else earlier.effect, pair)


def _reference_sample(profile: Profile, column: ColumnProfile, check: DriftCheck) -> Sample | None:
    values = np.array(column.counts, dtype=np.int64)
    if check is DriftCheck.MISSING:
        counts = np.array([values.sum(), column.missing])
    elif check is DriftCheck.UNSEEN:
        if column.is_ordered:
            return None
        counts = np.array([values[:-1].sum(), values[-1]])
    else:
        counts = values
    return _sample(counts, effect_at(profile.blocks, _design_effects(column, check), profile.rows))


def _test_window(
    profile: Profile, column: int, check: DriftCheck, then: Sample, window: WindowCounts
) -> TwoSampleResult | None:
    reference = profile.columns[column]
    counts = window.cells(column, check, window.total)
    rows = int(counts.sum())
    if not rows or (check is not DriftCheck.VALUES and not counts[1] and not then.counts[1]):
        return None
    ordered = reference.is_ordered and check is DriftCheck.VALUES
    inside = window_effect(window.cells(column, check, window.blocks), ordered)
    sample = _sample(counts, max(inside, effect_at(profile.blocks, _design_effects(reference, check), rows)))
    if check is not DriftCheck.VALUES:
        return proportion_test(then, sample)
    return ks_test(then, sample) if ordered else chi_square_test(then, sample)


def _design_effects(column: ColumnProfile, check: DriftCheck) -> tuple[float, ...]:
    return column.design_missing if check is DriftCheck.MISSING else column.design


def _sample(counts: Counts, design: float) -> Sample:
    """The counts with their design effect, cut so that they are worth one row at least."""
    return Sample(counts, min(design, max(1.0, float(counts.sum()))))
