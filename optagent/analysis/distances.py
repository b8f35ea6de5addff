"""Distances between distributions: two counts on the same bins, neither of which may be all zero."""

import math

import numpy as np
from scipy.spatial import distance

from optagent.arrays import Counts, Vector

_TENTHS = 10
_LEAST_SHARE = 1e-4  # an empty bin would make the index infinite


def shares(counts: Counts) -> Vector:
    """The counts as shares of their total."""
    return np.asarray(counts / counts.sum())


def kolmogorov_smirnov(then: Counts, now: Counts) -> float:
    """The largest distance of the cumulative shares at the edges of the bins.

    >>> kolmogorov_smirnov(np.array([2, 2, 0]), np.array([0, 2, 2]))
    0.5
    """
    return float(np.abs(shares(then).cumsum() - shares(now).cumsum()).max())


def total_variation(then: Counts, now: Counts) -> float:
    """Half the sum of the differences of shares: the share of rows that would have to change.

    >>> total_variation(np.array([1, 1]), np.array([2, 0]))
    0.5
    """
    return float(np.abs(shares(then) - shares(now)).sum() / 2)


def cramers_v(then: Counts, now: Counts) -> float:
    """Cramér's V of categories by sample, as of two samples of equal size, so that their sizes do not matter.

    >>> cramers_v(np.array([5, 0]), np.array([0, 90]))
    1.0
    """
    p, q = shares(then), shares(now)
    occurs = p + q > 0
    return math.sqrt(float(((p - q)[occurs] ** 2 / (p + q)[occurs]).sum() / 2))


def population_stability(then: Counts, now: Counts) -> float:
    """The index (PSI): the sum of (q - p) log(q / p), shares below 1e-4 taken as that."""
    p, q = (np.maximum(shares(counts), _LEAST_SHARE) for counts in (then, now))
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(then: Counts, now: Counts) -> float:
    """The Jensen-Shannon distance, base 2: between 0 and 1."""
    value = float(distance.jensenshannon(shares(then), shares(now), base=2))
    return value if math.isfinite(value) else 0.0  # rounding may leave a negative square


def tenths(then: Counts, now: Counts) -> tuple[Counts, Counts]:
    """Ordered bins joined to tenths of `then` (fewer where a bin holds more), as PSI and Jensen-Shannon use them."""
    middle = shares(then).cumsum() - shares(then) / 2
    place = np.minimum((middle * _TENTHS).astype(np.int64), _TENTHS - 1)
    coarse = (np.bincount(place, weights=counts, minlength=_TENTHS).astype(np.int64) for counts in (then, now))
    return next(coarse), next(coarse)


def wasserstein(then: Counts, now: Counts, edges: Vector, shift: float) -> float:
    """The distance between the two, in the unit of `edges` and of `shift`, the difference of their means.

    It is the area between the cumulative shares, which are straight lines between the edges. Values beyond the outer
    edges are known by the means alone, so the distance is never less than the difference of the means.
    """
    if len(edges) < 2:
        return abs(shift)
    gap = np.abs(shares(then).cumsum() - shares(now).cumsum())[:-1]
    return max(float(np.trapezoid(gap, edges)), abs(shift))
