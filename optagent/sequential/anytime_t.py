"""Anytime-valid t interval: an interval of the mean of a few blocks, such as days, that may be looked at at each block.

The blocks are taken to be normal with an unknown spread, and independent. The bound inverts the likelihood ratio of a
Gaussian prior on the standardized mean, which is scale free (Lai 1976; Wang and Ramdas 2024, Anytime-valid t-tests and
confidence sequences for Gaussian means with unknown variance): it needs no spread that is known beforehand, as a normal
law does, and so holds from the first blocks on.
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


def t_bounds(means: Vector, low_alpha: float, high_alpha: float) -> Interval | None:
    """The bounds of the mean of blocks, each with an error rate of its own at all looks together.

    None for fewer than seven blocks. `means` (blocks,) are those of whole blocks, in the order of time.
    """
    values = check_finite(means)
    if len(values) < FEWEST_BLOCKS:
        return None
    mean = float(values.mean())
    squares = float(np.sum((values - mean) ** 2))
    low, high = (mean - t_radius(len(values), squares, low_alpha), mean + t_radius(len(values), squares, high_alpha))
    return Interval(mean, low, high, low_alpha)


def t_radius(count: int, squares: float, alpha: float) -> float:
    """The distance of a one-sided bound from the mean of `count` blocks whose deviations have that sum of squares."""
    if not 0 < alpha < 0.5:
        raise InvalidRequest(f"alpha of a one-sided bound must be between 0 and 0.5, got {alpha}")
    weight = _PRIOR / (count + _PRIOR)
    reach = (1 / (2 * alpha) / math.sqrt(weight)) ** (2 / count)
    rest = 1 - reach * weight
    return math.sqrt(squares * (reach - 1) / (count * rest)) if rest > 0 else math.inf


def have_block_effects(values: Vector, blocks: Vector, alpha: float = 0.2) -> bool:
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
