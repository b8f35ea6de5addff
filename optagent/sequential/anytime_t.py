"""Anytime-valid t interval: an interval of the mean of a few blocks, such as days, that may be looked at at each block.

The blocks are taken to be normal with an unknown spread, and a block to go on with a part of the one before. The
bound inverts the likelihood ratio of a Gaussian prior on the standardized mean, which is scale free (Lai 1976; Wang and
Ramdas 2024, Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance): it needs no
spread that is known beforehand, as a normal law does, and so holds from the first blocks on. What neighbours have in
common widens it as it widens the variance of a mean, by (1 + r) / (1 - r). Their autocorrelation r is known from few
blocks, in which it looks smaller than it is, by (1 + 4 r) / blocks (Marriott and Pope 1954, Bias in the estimation of
autocorrelations): that much is added for r = .5.
"""

import math

import numpy as np
from scipy.stats import f as f_law

from optagent.arrays import Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.sequential.confidence_sequence import check_finite

FEWEST_BLOCKS = 7  # of a day each: a week has to be seen whole
_PRIOR = 1.0  # blocks that the prior on the standardized mean weighs: bounds are narrowest after ten blocks or so
_SMALL_SAMPLE_BIAS = 3.0
_MOST_COMMON = 0.9


def t_bounds(means: Vector, low_alpha: float, high_alpha: float) -> Interval | None:
    """The bounds of the mean of blocks, each with an error rate of its own at all looks together.

    None for fewer than seven blocks. `means` (blocks,) are those of whole blocks, in the order of time.
    """
    values = check_finite(means)
    if len(values) < FEWEST_BLOCKS:
        return None
    mean = float(values.mean())
    squares = float(np.sum((values - mean) ** 2)) * _dependence(values - mean)
    low, high = (mean - t_radius(len(values), squares, low_alpha), mean + t_radius(len(values), squares, high_alpha))
    return Interval(mean, low, high, low_alpha)


def _dependence(deviations: Vector) -> float:
    """The factor by which the variance of the blocks' mean is larger than that of independent ones."""
    squares = float(deviations @ deviations)
    common = float(deviations[1:] @ deviations[:-1]) / squares if squares > 0 else 0.0
    common = min(max(common + _SMALL_SAMPLE_BIAS / len(deviations), 0.0), _MOST_COMMON)
    return (1 + common) / (1 - common)


def t_radius(count: int, squares: float, alpha: float) -> float:
    """The distance of a one-sided bound from the mean of `count` blocks whose deviations have that sum of squares."""
    if not 0 < alpha < 0.5:
        raise InvalidRequest(f"alpha of a one-sided bound must be between 0 and 0.5, got {alpha}")
    weight = _PRIOR / (count + _PRIOR)
    reach = (1 / (2 * alpha) / math.sqrt(weight)) ** (2 / count)
    rest = 1 - reach * weight
    return math.sqrt(squares * (reach - 1) / (count * rest)) if rest > 0 else math.inf


def have_block_effects(values: Vector, blocks: Vector, alpha: float = 0.02) -> bool:
    """True where rows of one block have more in common than chance explains (one-way analysis of variance).

    `blocks` (rows,) tells the block of each row. False for fewer than two blocks, or none with two rows.
    """
    _, block, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    groups, rows = len(counts), len(values)
    if groups < 2 or rows <= groups:
        return False
    means = np.bincount(block, weights=values) / counts
    within = float(np.sum((values - means[block]) ** 2)) / (rows - groups)
    between = float(counts @ (means - values.mean()) ** 2) / (groups - 1)
    return within > 0 and float(f_law.sf(between / within, groups - 1, rows - groups)) < alpha
