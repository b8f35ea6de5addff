"""Design effects: the factor by which shares of a time series vary more than those of independent rows would.

A design effect of 4 means that 4 rows say as much as one independent row (Kish 1965; batch means for the variance of
a stationary series). For ordered bins it is the effect on cumulative shares, which the Kolmogorov-Smirnov distance
looks at; for categories it is that on the shares themselves, as in Rao and Scott 1981.
"""

import numpy as np
from scipy.optimize import isotonic_regression

from optagent.arrays import Counts, Vector

FEWEST_BLOCKS = 24
"""The least number of blocks of the longest length: a variance of fewer is too uncertain to rest a p-value on."""

MOST_BLOCKS = 384
_SHORTEST_BLOCK = 8


def block_lengths(rows: int) -> tuple[int, ...]:
    """Rows a block, each twice the one before; empty where there are too few rows for two.

    >>> block_lengths(10_000)
    (27, 54, 108, 216)
    """
    shortest = max(_SHORTEST_BLOCK, -(-rows // MOST_BLOCKS))
    if rows < 2 * shortest:
        return ()
    lengths = [shortest]
    while rows // (2 * lengths[-1]) >= FEWEST_BLOCKS:
        lengths.append(2 * lengths[-1])
    return tuple(lengths)


def reference_effects(blocks: Counts, levels: int, ordered: bool) -> tuple[float, ...]:
    """Design effects of blocks of (blocks, bins) counts, then of two joined, then of four ...; never falling.

    Where neighbours are alike, longer blocks have the larger effect: a fall is noise, and is averaged away.
    """
    effects, weights = [], []
    for _ in range(levels):
        effects.append(_block_effect(blocks, ordered))
        weights.append(float(len(blocks)))
        blocks = blocks[: len(blocks) // 2 * 2].reshape(-1, 2, blocks.shape[1]).sum(axis=1)
    if not effects:
        return ()
    return tuple(np.maximum(isotonic_regression(effects, weights=weights).x, 1.0).tolist())


def window_effect(blocks: Counts, ordered: bool) -> float:
    """The design effect of (blocks, bins) counts from the differences of neighbours (von Neumann 1941).

    Unlike the variance around the mean, it does not take a jump or a slow change within the window for noise.
    """
    size = blocks.sum(axis=1)
    blocks, size = blocks[size > 0], size[size > 0]
    share = _shares(blocks, ordered)
    expected = _independent_variance(blocks, ordered)
    if len(blocks) < 3 or expected <= 0:
        return 1.0
    weight = 1.0 / (1.0 / size[1:] + 1.0 / size[:-1])
    return max(1.0, float((weight @ np.diff(share, axis=0) ** 2).sum() / ((len(blocks) - 1) * expected)))


def effect_at(lengths: tuple[int, ...], effects: tuple[float, ...], rows: int) -> float:
    """The design effect of the reference for a window of so many rows."""
    if not effects:
        return 1.0
    return effects[min(int(np.searchsorted(lengths, rows)), len(effects) - 1)]


def _block_effect(blocks: Counts, ordered: bool) -> float:
    size = blocks.sum(axis=1)
    blocks, size = blocks[size > 0], size[size > 0]
    expected = _independent_variance(blocks, ordered)
    if len(blocks) < 2 or expected <= 0:
        return 1.0
    mean = _shares(blocks.sum(axis=0, keepdims=True), ordered)
    return float((size @ (_shares(blocks, ordered) - mean) ** 2).sum() / ((len(blocks) - 1) * expected))


def _shares(blocks: Counts, ordered: bool) -> Vector:
    counts = blocks.cumsum(axis=1) if ordered else blocks
    return np.asarray(counts / blocks.sum(axis=1, keepdims=True))


def _independent_variance(blocks: Counts, ordered: bool) -> float:
    """The sum of the variances that one independent row would give."""
    if not len(blocks):
        return 0.0
    share = _shares(blocks.sum(axis=0, keepdims=True), ordered)
    return float((share * (1.0 - share)).sum())
