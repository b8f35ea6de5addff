"""Length of bootstrap blocks, estimated from the autocorrelation of the values that are resampled.

Politis and White 2004, Automatic block-length selection for the dependent bootstrap, Econometric Reviews 23, with the
correction of Patton, Politis and White 2009, Econometric Reviews 28: the length at which the variance of the circular
bootstrap has the smallest mean squared error. An interval wants blocks that are longer than that, since a variance that
is too small costs more than a noisy one (Sun, Phillips and Jin 2008, Econometrica 76): half as long again.

One autocorrelation after another is invisible where a weak effect lasts long, such as that of a day of 100 rows. So the
length is estimated a second time on sums over neighbours, where such an effect stands out, and the longer one is taken.
"""

import math

import numpy as np

from optagent.arrays import Vector

CELLS = 240
"""Values that a length is estimated on; longer series are summed to so many."""

_COARSE_CELLS = 60
_LONGER = 1.5
_LEAST_BLOCKS = 8  # with fewer, the spread of the blocks' means is a guess
_LEAST_VALUES = 20


def cube_root_length(units: int) -> int:
    """The cube root of the units, rounded up.

    >>> cube_root_length(1000), cube_root_length(1001)
    (10, 11)
    """
    return math.ceil(round(units ** (1 / 3), 9))


def data_driven_length(values: Vector, units: int) -> int:
    """The length of a block in units: at least their cube root, but never more than an eighth of them.

    `values` (cells,) sum up to the whole, each over an equal part of the units in the order of time.
    """
    coarse = _sum_neighbours(values, max(1, math.ceil(len(values) / _COARSE_CELLS)))
    longest = max(politis_white_length(series) * units / len(series) for series in (values, coarse))
    return min(max(cube_root_length(units), math.ceil(_LONGER * longest)), max(1, units // _LEAST_BLOCKS))


def politis_white_length(series: Vector) -> float:
    """The length for the circular bootstrap of the mean; 1 for a constant or very short series, at most a third of it.

    >>> politis_white_length(np.random.default_rng(0).normal(size=500)) < 5
    True
    """
    count = len(series)
    if count < _LEAST_VALUES:
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    covariance = _autocovariance(series, min(count - 1, math.ceil(math.sqrt(count)) + run))
    if covariance[0] <= 1e-18 * max(1e-300, float(np.max(np.abs(series))) ** 2):
        return 1.0
    lags = np.arange(1, min(2 * _last_lag(covariance, count, run), len(covariance) - 1) + 1)
    window = np.clip(2 * (1 - lags / lags[-1]), 0, 1)  # flat top: 1 for the first half, then down to 0
    weighted = window * covariance[lags]
    slope, spectrum = 2 * float(weighted @ lags), float(covariance[0]) + 2 * float(weighted.sum())
    if spectrum <= 0:
        return 1.0
    length = (1.5 * (slope / spectrum) ** 2 * count) ** (1 / 3)
    return float(min(max(length, 1.0), 3 * math.sqrt(count), count / 3))


def _last_lag(covariance: Vector, count: int, run: int) -> int:
    """The last lag, at least 1, before a run of autocorrelations that cannot be told from 0."""
    small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(count) / count)
    quiet = np.convolve(small, np.ones(run), "valid") == run
    if quiet.any():
        return max(1, int(np.argmax(quiet)))
    return int(np.flatnonzero(~small)[-1]) + 1


def _autocovariance(series: Vector, most: int) -> Vector:
    """(most + 1,) covariances with the series itself, `lag` values later."""
    centred = series - series.mean()
    return np.array([centred[: len(centred) - lag] @ centred[lag:] for lag in range(most + 1)]) / len(series)


def _sum_neighbours(values: Vector, count: int) -> Vector:
    """Sums over each `count` neighbours; the first ones are left out where they do not fill a sum."""
    whole = len(values) // count * count
    return np.asarray(values[len(values) - whole :].reshape(-1, count).sum(axis=1), dtype=np.float64)
