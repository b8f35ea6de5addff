"""Probability of backtest overfitting, by combinatorially symmetric cross-validation (CSCV).

Bailey, Borwein, López de Prado and Zhu 2017, The probability of backtest overfitting, Journal of Computational Finance
20(4) (as a working paper 2014). The history is cut into an even number of blocks. For each choice of half of them, the
strategy that is best there is ranked among all strategies on the other half: the probability is the share of choices in
which it falls below their median. It is a property of the selection, not of one strategy: about a half for strategies
without skill, about 0 where the best is truly better.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidRequest

MOST_BLOCKS = 16
"""12,870 choices; neighbours of more blocks are joined."""
LEAST_BLOCKS = 8
"""70 choices: of fewer blocks the share says little."""

_CELLS_AT_ONCE = 2_000_000


def overfitting_probability(returns: Matrix64, *, ratios: bool = False, blocks: int = MOST_BLOCKS) -> float:
    """The probability for (periods, strategies) returns, or scores of which higher is better, the oldest first.

    Strategies are compared by their mean, or with `ratios` by their Sharpe ratio. A fall to exactly the median counts
    half. Raises InvalidRequest for fewer than two strategies, an odd number of blocks, fewer periods than blocks, and
    values that are not finite.
    """
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise InvalidRequest(f"overfitting needs (periods, strategies) of at least 2 strategies, got {returns.shape}")
    if blocks < 2 or blocks % 2 or blocks > MOST_BLOCKS or len(returns) < blocks:
        raise InvalidRequest(
            f"blocks must be even, from 2 to {MOST_BLOCKS} and at most the {len(returns)} periods, got {blocks}"
        )
    if not np.isfinite(returns).all():
        raise InvalidRequest("overfitting needs finite returns")
    parts = np.array_split(returns, blocks)
    counts = np.array([len(part) for part in parts], dtype=np.float64)
    sums = np.stack([part.sum(axis=0) for part in parts])
    squares = np.stack([(part**2).sum(axis=0) for part in parts])
    falls, choices = 0.0, 0
    for chosen in _halves(blocks, max(1, _CELLS_AT_ONCE // returns.shape[1])):
        inside, outside = (_performance(half, counts, sums, squares, ratios) for half in (chosen, 1 - chosen))
        best = np.take_along_axis(outside, inside.argmax(axis=1)[:, None], axis=1)
        lead = (outside < best).sum(axis=1) - (outside > best).sum(axis=1)
        falls += float((lead < 0).sum()) + float((lead == 0).sum()) / 2
        choices += len(chosen)
    return falls / choices


def even_blocks(periods: int) -> int:
    """The largest even number of blocks of so many periods, at most `MOST_BLOCKS`.

    >>> even_blocks(9), even_blocks(250)
    (8, 16)
    """
    return min(MOST_BLOCKS, periods // 2 * 2)


def _halves(blocks: int, at_once: int) -> Iterator[Matrix64]:
    """(choices, blocks) 1 for the blocks of a half, 0 for the others: all choices, `at_once` of them at a time."""
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    for start in range(0, len(chosen), at_once):
        places = chosen[start : start + at_once]
        halves = np.zeros((len(places), blocks))
        np.put_along_axis(halves, places, 1.0, axis=1)
        yield halves


def _performance(halves: Matrix64, counts: Vector, sums: Matrix64, squares: Matrix64, ratios: bool) -> Matrix64:
    """(choices, strategies) means, or Sharpe ratios, of the periods in each half."""
    periods = (halves @ counts)[:, None]
    mean = halves @ sums / periods
    if not ratios:
        return np.asarray(mean)
    spread = np.sqrt(np.maximum(halves @ squares / periods - mean**2, 0.0))
    return np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
