"""Window evidence: live windows against whole windows of the reference, one alone and stretches of two, four and eight.

Two stretches in a row that are off to the same side confirm each other; they are of one window each, of two and of
four, so that small shifts add up. The last two windows are also compared with the ones before them, which tells steps
in a world whose level wanders too much for the reference to say what is usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.drift_tests import both_beyond, share_scores, student_p_values, two_sided
from optagent.analysis.reference_units import ReferenceUnits
from optagent.analysis.share_memory import ShareMemory, mean_covariance, mean_design, share_memory
from optagent.arrays import Counts, Mask, Vector

MOST_WINDOWS = 8
_FEWEST_BEFORE = 4  # windows that a step is measured from
_LONGEST_GAP = 16  # windows, between the reference and the live ones
_FEWEST_HITS = 5  # independent ones in the reference, for a share whose steps mean something
_ONE_IN_TEN = 1.3  # standard errors
_NO_WINDOWS = range(0)


@dataclass(frozen=True, slots=True)
class Stretches:
    """Two stretches of windows in a row, the part of the level that their test may spend, and the windows that they are
    compared with: none for the reference."""

    newer: range
    older: range
    part: float
    base: range = _NO_WINDOWS


@dataclass(frozen=True, slots=True, eq=False)
class ShareEvidence:
    """(shares,) of the newest window: how far it is from the reference, and so the window before it; how many
    independent rows its rows are worth; the p-values of it alone, and the least of two stretches in a row.

    The last two are None without a window before it. A share is not known where one side has no rows, or neither has
    hits.
    """

    is_known: Mask
    off: Vector
    effective_rows: Vector
    p_value: Vector
    off_before: Vector | None = None
    lasting: Vector | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Score:
    """(shares,) normal scores of a stretch; the weights of its live units and of the reference's."""

    z: Vector
    variance: Vector
    live: Vector
    reference: Vector


class WindowEvidence:
    """Evidence on (windows, shares) hits and totals of the live windows, the newest first.

    `starts` is the first of each group of shares that vary alike. Where there are fewer than eight windows, the last
    ones of the reference follow, if not too long ago: what a step is measured from.
    """

    def __init__(self, units: ReferenceUnits, hits: Counts, totals: Counts, starts: Counts) -> None:
        self._units, self._live = units, len(hits)
        firsts = -units.per_window * np.arange(len(hits))
        if 0 <= firsts[-1] + units.gap <= _LONGEST_GAP * units.per_window:
            older = units.last_windows(MOST_WINDOWS - len(hits))
            firsts, hits, totals = (np.concatenate(parts) for parts in zip((firsts, hits, totals), older, strict=True))
        self._firsts, self._hits, self._totals = firsts, hits, totals
        rows, reference_hits = units.totals.astype(np.float64), units.hits.sum(axis=0)
        self._rows = np.maximum(rows.mean(axis=0), 1e-9)
        overall = (reference_hits + 0.5) / (rows.sum(axis=0) + 1.0)
        own = overall * (1 - overall)
        self._memory: ShareMemory = share_memory(units.residuals(), rows, units.phase, own, starts)
        self._design = mean_design(self._memory.variance, own / self._rows, starts)
        self._row_weight = mean_design(self._memory.spread, own / self._rows, starts)  # rows that are worth one
        rarer = np.minimum(reference_hits, rows.sum(axis=0) - reference_hits)
        self._is_rare = rarer < _FEWEST_HITS * self._row_weight

    def weigh(self) -> ShareEvidence:
        """The evidence of all windows on each share."""
        now, freedom = self._score(range(1)), self._memory.freedom
        expected = self._expected_share(range(1))
        hits, totals = self._units.hits.sum(axis=0), self._units.totals.sum(axis=0)
        alone = ShareEvidence(
            is_known=(totals > 0) & (self._totals[0] > 0) & (hits + self._hits[0] > 0),
            off=self._share(range(1)) - expected,
            effective_rows=expected * (1 - expected) / now.variance,
            p_value=student_p_values(two_sided(now.z), freedom),
        )
        pairs = usable_stretches(self._live, len(self._hits))
        if not pairs:
            return alone
        spent = sum(pair.part for pair in pairs)
        each = [student_p_values(self._both(pair), freedom) * spent / pair.part for pair in pairs]
        off_before = self._share(range(1, 2)) - self._expected_share(range(1, 2))
        return replace(alone, off_before=off_before, lasting=np.minimum(np.min(each, axis=0), 1.0))

    def _both(self, pair: Stretches) -> Vector:
        """The p-values of both stretches together, by the correlation that they have in the reference."""
        newer, older = self._score(pair.newer, pair.base), self._score(pair.older, pair.base)
        place, unit = self._memory.coefficient, self._memory.variance
        common = mean_covariance(newer.live, older.live) + mean_covariance(newer.reference, older.reference)
        covariance = unit * common[place]
        correlation = np.clip(covariance / np.sqrt(newer.variance * older.variance), 0.0, 1.0)
        z = np.where(newer.z * older.z > 0, np.minimum(np.abs(newer.z), np.abs(older.z)), 0.0)
        return both_beyond(z, correlation)

    def _score(self, windows: range, base: range = _NO_WINDOWS) -> _Score:
        share, expected = self._share(windows), self._expected_share(windows)
        live, reference = self._weights(windows)
        rows = self._totals[list(windows)].sum(axis=0)
        of_rows = 1 / np.maximum(rows, 1) + 1 / np.maximum(self._units.totals.sum(axis=0), 1)
        if base:
            base_live, base_reference = self._weights(base)
            live, reference = live - base_live, reference - base_reference
            base_rows = self._totals[list(base)].sum(axis=0)
            least = 0.5 * self._row_weight / (base_rows + self._row_weight)
            expected = np.clip(expected + self._share(base) - self._expected_share(base), least, 1 - least)
            of_rows = of_rows + 1 / np.maximum(base_rows, 1)
        place, own = self._memory.coefficient, expected * (1 - expected)
        of_live, of_reference = mean_covariance(live, live)[place], mean_covariance(reference, reference)[place]
        unit = np.maximum(self._memory.variance, self._design * own / self._rows)
        variance = self._live_variance(windows, own, unit) * of_live + unit * of_reference
        variance = np.maximum(variance, own * of_rows)
        z = share_scores(share, expected, variance)
        is_known = (rows > 0) & ~self._is_rare if base else rows > 0
        return _Score(np.where(is_known, z, 0.0), variance, live, reference)

    def _share(self, windows: range) -> Vector:
        places = list(windows)
        return np.asarray(self._hits[places].sum(axis=0) / np.maximum(self._totals[places].sum(axis=0), 1))

    def _expected_share(self, windows: range) -> Vector:
        """The shares of the reference at the same phases, with half an independent row of either kind besides."""
        used = self._units.expectation(self._places(windows)) > 0
        hits, totals = self._units.hits[used].sum(axis=0), self._units.totals[used].sum(axis=0)
        return np.asarray((hits + 0.5 * self._row_weight) / (totals + self._row_weight))

    def _weights(self, windows: range) -> tuple[Vector, Vector]:
        units = self._places(windows)
        live = np.zeros(self._units.per_window - int(self._firsts[-1]))
        live[units - int(self._firsts[-1])] = 1 / len(units)
        return live, self._units.expectation(units)

    def _places(self, windows: range) -> Counts:
        """The units of windows, 0 being the first of the newest."""
        return np.asarray((self._firsts[list(windows)][:, None] + np.arange(self._units.per_window)).ravel())

    def _live_variance(self, windows: range, own: Vector, unit: Vector) -> Vector:
        """The variance of a live unit, which may have fewer or more rows than one of the reference.

        More rows average their `own` noise only, the variance of one of them; what is beyond it may be memory, as much
        as the estimate leaves open.
        """
        rows = self._totals[list(windows)].sum(axis=0) / (len(windows) * self._units.per_window)
        open_to = 1 + _ONE_IN_TEN * np.sqrt(2 / self._memory.freedom)
        beyond = np.maximum(self._memory.spread * open_to - own / self._rows, 0.0)
        wandering = np.maximum(self._memory.variance / np.maximum(self._memory.spread, 1e-300), 1.0)
        with_more = np.minimum(beyond * wandering + own / np.maximum(rows, 1e-9), unit)
        return np.asarray(np.where(rows < self._rows, unit * self._rows / np.maximum(rows, 1e-9), with_more))


def usable_stretches(live: int, windows: int) -> Sequence[Stretches]:
    """The pairs of stretches for which so many live windows are enough, and so many with those of the reference."""
    pairs = [Stretches(range(size), range(size, 2 * size), part) for size, part in ((1, 0.5), (2, 0.15), (4, 0.15))]
    usable = [pair for pair in pairs if pair.older.stop <= live]
    if usable and windows >= 2 + _FEWEST_BEFORE:
        usable.append(Stretches(range(1), range(1, 2), 0.2, base=range(2, windows)))
    return usable
