"""Stability of columns: drift of the values across blocks of time, and spread of the importance rank across folds."""

import numpy as np
import numpy.typing as npt

from optagent.analysis.distances import kolmogorov_smirnov, total_variation
from optagent.arrays import Matrix, Vector

_BINS = 20
_MOST_ROWS = 50_000


def drift_over_blocks(x: Matrix, categorical: tuple[int, ...] = (), blocks: int = 5) -> Vector:
    """(columns,) between 0 and 1: the largest distance of one block of rows from all the others.

    The distance is that of Kolmogorov and Smirnov, for codes the total variation; missing values are a value of their
    own. The distance expected by chance for blocks of these sizes is subtracted.
    """
    sample = x[:: -(-len(x) // _MOST_ROWS) or 1]
    blocks = min(blocks, len(sample) // 2)
    if blocks < 2:
        return np.zeros(x.shape[1])
    block_of_row = np.arange(len(sample)) * blocks // len(sample)
    size = len(sample) / blocks
    chance = 1.36 * (1 / size + 1 / (len(sample) - size)) ** 0.5  # the 95 % point of the distance of two samples
    drift = np.zeros(x.shape[1])
    for column in range(x.shape[1]):
        categorical_column = column in categorical
        bins = _bin_indexes(sample[:, column], categorical_column)
        width = int(bins.max()) + 1
        counts = np.bincount(block_of_row * width + bins, minlength=blocks * width).reshape(blocks, width)
        distance = total_variation if categorical_column else kolmogorov_smirnov
        allowed = chance if not categorical_column else max(chance, (width / (2 * np.pi * size)) ** 0.5)
        total = counts.sum(axis=0)
        drift[column] = max(0.0, max(distance(total - block_counts, block_counts) for block_counts in counts) - allowed)
    return np.minimum(drift, 1.0)


def rank_stability(importances: npt.NDArray[np.float64]) -> Vector:
    """(columns,) from (folds, columns) importances: 1 keeps its rank in every fold, 0 has ranks as random as by lot."""
    folds, columns = importances.shape
    if folds < 2 or columns < 2:
        return np.ones(columns)
    order = np.argsort(np.argsort(-importances, axis=1, kind="stable"), axis=1)
    random_spread = ((columns**2 - 1) / 12) ** 0.5
    return np.clip(1 - order.std(axis=0, ddof=1) / random_spread, 0.0, 1.0)


def stability(drift: Vector, rank: Vector) -> Vector:
    """The score of a column: 1 is the same in every block and every fold."""
    return (1 - drift) * rank


def _bin_indexes(values: Matrix, categorical: bool) -> npt.NDArray[np.int64]:
    present = ~np.isnan(values)
    if categorical:
        return np.where(present, values + 1, 0).astype(np.int64)
    if not present.any():
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(values[present], np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.where(present, 1 + np.searchsorted(edges, values, side="right"), 0)
