"""Block means: blocks of rows that are long enough for their means to be next to uncorrelated."""

import math
from collections.abc import Sequence

import numpy as np

from optagent.arrays import Vector

SHORTEST_BLOCK = 10  # a rise of .1 in an error rate of .2 is then .8 standard deviations
_FEWEST_BLOCKS = 20
_CORRELATION = 0.02  # the most between neighbouring blocks, which are then taken to be independent


def block_means(losses: Vector, block: int) -> Vector:
    """The means of whole blocks; rows left over at the end are left out."""
    return losses[: len(losses) // block * block].reshape(-1, block).mean(axis=1)


def block_length(losses: Vector) -> int:
    """The fewest rows whose means are next to uncorrelated, by the autocorrelation of the rows.

    Blocks are doubled as long as their own neighbours still go together, as with a daily rhythm.
    """
    longest = max(1, len(losses) // _FEWEST_BLOCKS)
    block = min(SHORTEST_BLOCK, longest)
    correlations = _autocorrelation(losses)
    while block < longest and _block_correlation(correlations, block) > _CORRELATION:
        block = min(longest, math.ceil(block * 1.25))
    while block * 2 <= longest and _are_correlated(block_means(losses, block)):
        block *= 2
    return block


def _are_correlated(means: Vector) -> bool:
    return neighbour_correlation(means) > 2 / math.sqrt(len(means))


def neighbour_correlation(means: Vector) -> float:
    """The correlation of each value with the next; 0 where nothing varies."""
    centred = means - means.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0


def _autocorrelation(losses: Vector) -> Vector:
    """Autocorrelations at lags 1, 2, ... until the first pair that is noise (Geyer 1992, initial positive sequence)."""
    centred = losses - losses.mean()
    size = 1 << (2 * len(losses) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    covariance = np.fft.irfft(spectrum, size)[: len(losses) // 4]
    if covariance[0] <= 0:
        return np.zeros(0)
    correlations = covariance / covariance[0]
    even = len(correlations) // 2 * 2
    pairs = correlations[:even].reshape(-1, 2).sum(axis=1)
    noise = 2 / math.sqrt(len(losses))
    ends = np.flatnonzero(pairs < noise)
    return correlations[1 : 2 * int(ends[0])] if len(ends) else correlations[1:even]


def _block_correlation(correlations: Sequence[float] | Vector, block: int) -> float:
    """The correlation of the means of neighbouring blocks of rows with these autocorrelations at lags 1, 2, ..."""
    padded = np.zeros(2 * block - 1)
    lags_known = min(len(correlations), len(padded))
    padded[:lags_known] = correlations[:lags_known]
    lags = np.arange(1, 2 * block)
    shared = np.minimum(lags, 2 * block - lags) @ padded
    own = block + 2 * (np.maximum(block - lags, 0) @ padded)
    return float(shared / own) if own > 0 else 0.0
