"""Whole-window comparison: the evidence of live windows against the same hours and weekdays of a reference."""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile

import numpy as np

from optagent.analysis.binned_counts import BinnedCounts
from optagent.analysis.column_groups import ColumnGroups
from optagent.analysis.drift_evidence import ColumnEvidence, evidence_by_windows
from optagent.analysis.profile import Profile, groups_of
from optagent.analysis.reference_series import DAY_S, WEEK_S
from optagent.analysis.reference_units import ReferenceUnits, reference_units
from optagent.analysis.window_evidence import MOST_WINDOWS, WindowEvidence
from optagent.domain.monitoring import Window

_WEEKDAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")  # as 1970 began


@dataclass(frozen=True, slots=True)
class LiveWindows:
    """The counts of a window and of those of the same length before it, the newest first; `window` is the newest, None
    where its place on the clock is not known."""

    counts: tuple[BinnedCounts, ...]
    window: Window | None = None

    @property
    def in_a_row(self) -> tuple[BinnedCounts, ...]:
        """The windows back to the first without rows, at most eight."""
        return tuple(takewhile(lambda counts: counts.rows > 0, self.counts[:MOST_WINDOWS]))


@dataclass(frozen=True, slots=True)
class WholeWindowResult:
    """The evidence by column, the comparison in words, and the number of windows that it rests on."""

    evidence: list[list[ColumnEvidence]]
    comparison: str
    windows: int


@dataclass(frozen=True, slots=True)
class _ProfileKey:
    """A profile that is known by the digest of the counts that were made for it."""

    digest: str
    profile: Profile = field(compare=False, repr=False)


def compare_whole_windows(profile: Profile, live: LiveWindows) -> WholeWindowResult | None:
    """The comparison, where the reference has enough whole windows of this length and the window has rows."""
    windows = live.in_a_row
    if profile.series is None or live.window is None or not windows:
        return None
    groups = _groups(_ProfileKey(windows[0].layout.digest, profile))
    units = reference_units(profile.series, groups, live.window)
    if units is None:
        return None
    hits, totals = groups.shares(groups.join(np.stack([counts.total() for counts in windows])))
    evidence = WindowEvidence(units, hits, totals, groups.starts).weigh()
    return WholeWindowResult(evidence_by_windows(profile, groups, evidence), _comparison_text(units), len(windows))


def missing_weekdays(profile: Profile, live: LiveWindows) -> tuple[str, ...]:
    """The weekdays of the windows that a reference of less than a week has no rows of; UTC."""
    if profile.span is None or profile.series is not None or live.window is None:
        return ()
    first, last = (int(instant // DAY_S) for instant in profile.span)
    start = live.window.start - live.window.length_s * (len(live.in_a_row[:2]) - 1)
    days = range(int(start // DAY_S), int(np.ceil(live.window.end / DAY_S)))
    present = {day % 7 for day in range(first, last + 1)}
    return tuple(_WEEKDAYS[place] for place in sorted({day % 7 for day in days} - present))


@lru_cache(maxsize=8)
def _groups(key: _ProfileKey) -> ColumnGroups:
    return groups_of(key.profile.columns)


def _comparison_text(units: ReferenceUnits) -> str:
    span_s = len(units.hits) * units.unit_s
    if units.period_s == WEEK_S:
        same = "weekday" if units.unit_s == DAY_S else "hours and weekdays"
        return f"against the same {same} of {span_s / WEEK_S:.0f} weeks"
    whole = "whole windows" if units.per_window == 1 else "parts of windows"
    text = f"against {len(units.hits)} {whole} of the reference"
    if units.period_s == DAY_S:
        text = f"against the same hours of {span_s / DAY_S:.0f} days"
    if units.unit_s < WEEK_S and span_s < 3 * WEEK_S:
        text += ", too few weeks to know a weekday: days count as alike as the reference's"
    return text
