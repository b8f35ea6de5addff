"""Realised coverage: the share of outcomes that intervals covered, and the test whether it is below their level.

The test is the exact binomial one of so many rows as tell as much as if they were independent: days that differ by more
than chance allows leave fewer (the over-dispersion of McCullagh and Nelder 1989, section 4.5, by its median, which a
few bad days do not move).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest

from optagent.domain.prediction_interval import LEVELS
from optagent.domain.study import Interval

WATCHED = LEVELS.index(0.9)
"""The place of the level whose coverage alarms."""

WINDOW_DAYS = 7
"""The newest days with outcomes that are judged together."""

LEAST_ROWS = 100
"""Outcomes below which nothing is judged."""

_ALPHA = 0.05
_MEDIAN = 0.4549  # of chi-square with one degree of freedom


@dataclass(frozen=True, slots=True)
class RealisedCoverage:
    """The coverage of the newest days: `rows` with outcomes, and the share that each of `LEVELS` covered.

    `p_value` is the probability of so few covered rows where the watched level holds; None for too few rows.
    """

    rows: int
    shares: tuple[float, ...]
    p_value: float | None = None


def measure_coverage(counts: Mapping[str, tuple[int, ...]]) -> RealisedCoverage | None:
    """The coverage of the newest days; `counts` are rows and covered rows of each level by day. None without rows."""
    days = np.array([counts[day] for day in sorted(counts, key=int)], dtype=np.float64).reshape(-1, 1 + len(LEVELS))
    totals = days[-WINDOW_DAYS:].sum(axis=0)
    rows = int(totals[0])
    if not rows:
        return None
    p_value = None
    if rows >= LEAST_ROWS:
        dispersion = _dispersion(days[:, 0], days[:, 1 + WATCHED])
        count, covered = math.ceil(rows / dispersion), math.ceil(totals[1 + WATCHED] / dispersion)
        p_value = float(binom.cdf(covered, count, LEVELS[WATCHED]))
    return RealisedCoverage(rows, tuple((totals[1:] / rows).tolist()), p_value)


def coverage_interval(rows: int, covered: int) -> Interval | None:
    """The share of covered rows, with its interval exact for independent rows (Clopper and Pearson 1934); None for no
    rows."""
    if not rows:
        return None
    bounds = binomtest(covered, rows).proportion_ci(1 - _ALPHA)
    return Interval(covered / rows, float(bounds.low), float(bounds.high), _ALPHA)


def _dispersion(rows: np.ndarray, covered: np.ndarray) -> float:
    """The factor, at least 1, by which the counts of days vary more than those of independent rows."""
    share = covered.sum() / rows.sum()
    if not 0 < share < 1:
        return 1.0
    squares = (covered - rows * share) ** 2 / (rows * share * (1 - share))
    return max(1.0, float(np.median(squares)) / _MEDIAN)
