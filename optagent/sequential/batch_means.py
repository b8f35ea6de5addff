"""Batch means: the variance of means of ever longer blocks, by which a series shows how far its memory reaches.

For a stationary series, rows times the variance of their mean rises with the block to a plateau, the long-run variance
(Alexopoulos and Seila 1998, Output data analysis). A weak but long memory shows there, though no autocorrelation of
rows stands out of its noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from optagent.arrays import Vector
from optagent.sequential.blocks import SHORTEST_BLOCK, block_length, block_means

_FEWEST_BLOCKS = 24  # a variance of fewer is too uncertain
_SLACK = 2.0  # standard errors by which longer blocks may vary more
_RISE = 2.5  # standard errors of the correlation of the longest blocks that are no chance


@dataclass(frozen=True, slots=True)
class SettledBlock:
    """A length of blocks in rows; `settled` is False where the variance still rises with the longest blocks."""

    rows: int
    settled: bool = True


def settled_block(losses: Vector) -> SettledBlock:
    """The shortest block whose means vary, for their length, as much as those of all longer ones do."""
    block = block_length(losses)
    lengths, effects, counts = _effects(losses, SHORTEST_BLOCK, _FEWEST_BLOCKS)
    if not lengths:
        return SettledBlock(block)
    smooth = isotonic_regression(effects, weights=counts).x
    allowed = 1 + _SLACK * np.sqrt(2 / counts)
    level = next(index for index in range(len(lengths)) if (smooth[index:] <= smooth[index] * allowed[index:]).all())
    rising = len(effects) > 1 and effects[-1] > effects[-2] * (1 + _RISE / math.sqrt(counts[-1]))
    return SettledBlock(max(block, lengths[level]), settled=not rising)


@dataclass(frozen=True, slots=True)
class DesignEffects:
    """The factors by which means of blocks vary more than those of as many independent rows; never falling.

    `lengths` are rows a block, each twice the one before.
    """

    lengths: tuple[int, ...] = ()
    effects: tuple[float, ...] = ()

    def thin(self, every: float) -> "DesignEffects":
        """The effects for all rows, where these are of one row in `every`: what lasts adds up, the rest is not seen."""
        lengths = tuple(max(1, round(length * every)) for length in self.lengths)
        return DesignEffects(lengths, tuple(1 + (effect - 1) * every for effect in self.effects))

    def at(self, rows: float) -> float:
        """The effect for a block of so many rows; for one longer than any, that of the longest."""
        if not self.lengths:
            return 1.0
        return float(np.interp(math.log(max(rows, 1.0)), np.log(self.lengths), self.effects))


def design_effects(values: Vector) -> DesignEffects:
    """The design effects of a series of at least some dozen rows in the order of time; none where nothing varies."""
    lengths, effects, counts = _effects(values, 1, _FEWEST_BLOCKS // 2)
    if not lengths or effects[0] <= 0:
        return DesignEffects()
    smooth = isotonic_regression(effects / effects[0], weights=counts).x
    return DesignEffects(tuple(lengths), tuple(np.maximum(smooth, 1.0).tolist()))


def _effects(losses: Vector, shortest: int, fewest: int) -> tuple[list[int], Vector, Vector]:
    """Lengths, each twice the one before; rows times the variance of the means; the numbers of blocks."""
    lengths = []
    length = shortest
    while len(losses) // length >= fewest:
        lengths.append(length)
        length *= 2
    means = [block_means(losses, each) for each in lengths]
    effects = np.array([each * values.var(ddof=1) for each, values in zip(lengths, means, strict=True)])
    return lengths, effects, np.array([float(len(values)) for values in means])
