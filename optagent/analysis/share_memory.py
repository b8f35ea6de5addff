"""Memory of a series of shares: how alike neighbouring units of time are, and what that makes of the variance of means.

The model is an autoregression of order 1 around the mean of each phase (of the week or the day). Its coefficient is
the largest that the correlation of neighbours leaves open, by two standard errors: where a reference is too short to
tell a slow series from none, windows count as if it were slow. No column counts as quicker than half of them. Variances
are those of innovations, so that a series whose level wanders without end has a level of which nothing is known, and
steps of which much is (Box and Jenkins 1970).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from optagent.arrays import Counts, Vector

COEFFICIENTS = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.995])


def mean_covariance(a: Vector, b: Vector) -> Vector:
    """(coefficients,) covariances of two weighted sums of the same units, of variance 1 each."""
    return np.asarray(_powers(len(a)) @ np.correlate(a, b, "full"))


@lru_cache(maxsize=16)
def _powers(units: int) -> Vector:
    """(coefficients, lags) correlations of two units that are so far apart, either way."""
    return np.asarray(np.power(COEFFICIENTS[:, None], np.abs(np.arange(1 - units, units))))


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """(coefficients,) expectations of residuals of units of variance 1: of the correlation of neighbours, and of a
    squared innovation."""

    neighbours: Vector
    innovation: Vector


@lru_cache(maxsize=16)
def expected_residuals(phases: tuple[int, ...]) -> Expected:
    """Expectations for units from which the mean of their phase is taken away."""
    phase = np.array(phases)
    member = (phase[:, None] == np.unique(phase)).astype(np.float64)
    averaging = member / member.sum(axis=0) @ member.T
    lags = np.abs(np.subtract.outer(np.arange(len(phase)), np.arange(len(phase))))
    neighbours, innovation = [], []
    for coefficient in COEFFICIENTS:
        true = np.power(coefficient, lags)
        half = true - averaging @ true
        residual = half - half @ averaging
        own, next_to = np.diagonal(residual), np.diagonal(residual, 1)
        neighbours.append(2 * next_to.sum() / (own[1:].sum() + own[:-1].sum()))
        innovation.append((own[1:] - 2 * coefficient * next_to + coefficient**2 * own[:-1]).mean())
    return Expected(np.array(neighbours), np.array(innovation))


@dataclass(frozen=True, slots=True, eq=False)
class ShareMemory:
    """Of each share: the place of its coefficient, the variance of a unit, and the freedom of that estimate.

    `spread` is the variance that units were seen to have; `variance` is that of a world whose level wanders as much as
    the coefficient says, of which the reference saw a part.
    """

    coefficient: Counts
    variance: Vector
    spread: Vector
    freedom: int


def _standard_error(pairs: int) -> Vector:
    """(coefficients,) standard errors of the correlation of neighbours: Bartlett's, and near 1 what simulation adds."""
    return np.asarray(np.sqrt((1 - COEFFICIENTS**2) / pairs + (4 * COEFFICIENTS / pairs) ** 2))


def mean_design(variance: Vector, independent: Vector, starts: Counts) -> Vector:
    """(shares,) the factor by which the shares of a test vary more than those of independent rows, in the mean.

    A share that is too rare to have varied in the reference is given that of the others.
    """
    design = np.add.reduceat(variance, starts) / np.maximum(np.add.reduceat(independent, starts), 1e-300)
    return np.repeat(np.maximum(design, 1.0), np.diff(np.append(starts, len(variance))))


def share_memory(residuals: Vector, rows: Vector, phases: Counts, scale: Vector, starts: Counts) -> ShareMemory:
    """The memory of (units, shares) residuals of so many rows each; all shares of a test have one coefficient.

    `scale` is the variance of a share of one row, `starts` the first share of each test.
    """
    expected = expected_residuals(tuple(phases.tolist()))
    weight = np.minimum(rows[1:], rows[:-1])
    total = np.maximum(weight.sum(axis=0), 1e-300)
    before, after, both = (
        (weight * product).sum(axis=0) / total
        for product in (residuals[:-1] ** 2, residuals[1:] ** 2, residuals[1:] * residuals[:-1])
    )
    pairs = int((weight > 0).sum(axis=0).max(initial=0))
    own, next_to = (np.add.reduceat(part / scale, starts) for part in ((before + after) / 2, both))
    correlation = np.divide(next_to, own, out=np.zeros_like(own), where=own > 0)
    lowest = expected.neighbours - 2 * _standard_error(max(1, pairs))
    fitting = np.searchsorted(np.maximum.accumulate(lowest), correlation).clip(0, len(COEFFICIENTS) - 1)
    if (own > 0).any():
        fitting = np.maximum(fitting, int(np.median(fitting[own > 0])))
    place = np.repeat(fitting, np.diff(np.append(starts, len(scale))))
    coefficient = COEFFICIENTS[place]
    innovation = after - 2 * coefficient * both + coefficient**2 * before
    freedom = max(1, pairs - len(np.unique(phases)))
    spread = (before + after) / 2 * (pairs + 1) / freedom
    return ShareMemory(place, innovation / expected.innovation[place], spread, freedom)
