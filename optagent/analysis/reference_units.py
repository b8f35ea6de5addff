"""Reference units: the reference cut into whole windows, or equal parts of them, on the clock of the live window."""

from dataclasses import dataclass

import numpy as np

from optagent.analysis.column_groups import ColumnGroups
from optagent.analysis.reference_series import DAY_S, WEEK_S, ReferenceSeries
from optagent.arrays import Counts, Vector
from optagent.domain.monitoring import Window

FEWEST_UNITS = 48
"""A spread of fewer is too uncertain to rest a p-value on: then windows are cut into parts."""

_WINDOWS = 4  # the least that a reference holds: parts of windows do not tell how windows differ
_FEWEST_PERIODS = 3  # to compare with the same hours or weekdays: of two, each would be half of its own mean


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceUnits:
    """(units, shares) hits and totals of the reference. A window has `per_window` units, and unit 0 is its first.

    `phase` (units,) is the place in the period: a week, a day, or 0 s where there are too few of either. `gap` units
    lie between the reference and unit 0.
    """

    hits: Counts
    totals: Counts
    phase: Counts
    phases: int
    per_window: int
    unit_s: float
    period_s: float
    gap: int

    def expectation(self, units: Counts) -> Vector:
        """(units,) weights of the reference's units for the same phases as those of live units, by their rows."""
        rows = self.totals.max(axis=1).astype(np.float64)
        weights = np.where(np.isin(self.phase, units % self.phases), rows, 0.0)
        weights = weights if weights.any() else rows
        return np.asarray(weights / weights.sum())

    def last_windows(self, most: int) -> tuple[Counts, Counts, Counts]:
        """The first units of the reference's last whole windows, the newest first, and their (windows, shares) hits and
        totals."""
        size, first_unit = self.per_window, -self.gap - len(self.hits)
        newest = -self.gap // size - 1  # of windows, 0 being the live one
        firsts = size * np.arange(newest, newest - most, -1)
        firsts = firsts[firsts >= first_unit]
        places = (firsts - first_unit)[:, None] + np.arange(size)
        return firsts, self.hits[places].sum(axis=1), self.totals[places].sum(axis=1)

    def residuals(self) -> Vector:
        """(units, shares) differences of shares from those of their phase; 0 where a unit has no rows."""
        means = np.zeros((self.phases, self.hits.shape[1]))
        for phase in range(self.phases):
            same = self.phase == phase
            means[phase] = self.hits[same].sum(axis=0) / np.maximum(self.totals[same].sum(axis=0), 1)
        return np.where(self.totals > 0, self.hits / np.maximum(self.totals, 1) - means[self.phase], 0.0)


def reference_units(series: ReferenceSeries, groups: ColumnGroups, window: Window) -> ReferenceUnits | None:
    """The units for windows of this length and clock; None where buckets do not divide them, or are too few."""
    buckets = round(window.length_s / series.width_s)
    if not buckets or abs(window.length_s / series.width_s - buckets) > 1e-3 or series.buckets < _WINDOWS * buckets:
        return None
    origin = round(window.start / series.width_s) - series.first  # in buckets
    day = round(DAY_S / series.width_s)
    parts = [buckets // count for count in range(1, 1 + buckets) if buckets % count == 0]
    lengths = [part for part in parts if part == buckets or part % day == 0 or day % part == 0]
    length = next((one for one in lengths if (series.buckets - origin % one) // one >= FEWEST_UNITS), None)
    if length is None:
        return None
    skipped = origin % length
    units = (series.buckets - skipped) // length
    counts = series.counts()[skipped : skipped + units * length]
    hits, totals = groups.shares(counts.reshape(units, length, -1).sum(axis=1))
    unit_s = length * series.width_s
    period_s, phases = _period(unit_s, units)
    number = (skipped - origin) // length + np.arange(units)
    gap = -1 - int(number[-1])
    return ReferenceUnits(hits, totals, number % phases, phases, buckets // length, unit_s, period_s, gap)


def _period(unit_s: float, units: int) -> tuple[float, int]:
    """The longest cycle that the reference holds often enough, and its units; 0 s and 1 where there is none."""
    for period_s in (WEEK_S, DAY_S):
        phases = round(period_s / unit_s)
        if phases > 1 and phases * unit_s == period_s and units >= _FEWEST_PERIODS * phases:
            return period_s, phases
    return 0.0, 1
