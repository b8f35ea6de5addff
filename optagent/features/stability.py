"""Whether a column is tomorrow what it is today: its values across blocks of time, its rank across folds."""

import numpy as np
import numpy.typing as npt

from optagent.analysis.distances import kolmogorov_smirnov, total_variation
from optagent.arrays import Matrix, Vector

_BINS = 20
_MOST_ROWS = 50_000


def drift_over_blocks(x: Matrix, categorical: tuple[int, ...] = (), blocks: int = 5) -> Vector:
    """(columns,) between 0 and 1: how far the block of rows that differs most is from all the others.

    The distance is Kolmogorov and Smirnov's, of codes the total variation; missing values are a value of their own.
    What blocks of these sizes differ by chance is taken off.
    """
    thin = x[:: -(-len(x) // _MOST_ROWS) or 1]
    blocks = min(blocks, len(thin) // 2)
    if blocks < 2:
        return np.zeros(x.shape[1])
    of_block = np.arange(len(thin)) * blocks // len(thin)
    size = len(thin) / blocks
    chance = 1.36 * (1 / size + 1 / (len(thin) - size)) ** 0.5  # the 95 % point of the distance of two samples
    found = np.zeros(x.shape[1])
    for column in range(x.shape[1]):
        coded = column in categorical
        places = _places(thin[:, column], coded)
        width = int(places.max()) + 1
        counts = np.bincount(of_block * width + places, minlength=blocks * width).reshape(blocks, width)
        distance = total_variation if coded else kolmogorov_smirnov
        allowed = chance if not coded else max(chance, (width / (2 * np.pi * size)) ** 0.5)
        total = counts.sum(axis=0)
        found[column] = max(0.0, max(distance(total - one, one) for one in counts) - allowed)
    return np.minimum(found, 1.0)


def rank_stability(importances: npt.NDArray[np.float64]) -> Vector:
    """(columns,) of (folds, columns) importances: 1 keeps its rank in every fold, 0 has any rank as by lot."""
    folds, columns = importances.shape
    if folds < 2 or columns < 2:
        return np.ones(columns)
    order = np.argsort(np.argsort(-importances, axis=1, kind="stable"), axis=1)
    by_lot = ((columns**2 - 1) / 12) ** 0.5
    return np.clip(1 - order.std(axis=0, ddof=1) / by_lot, 0.0, 1.0)


def stability(drift: Vector, rank: Vector) -> Vector:
    """The score of a column: 1 is the same in every block and every fold."""
    return (1 - drift) * rank


def _places(values: Matrix, coded: bool) -> npt.NDArray[np.int64]:
    known = ~np.isnan(values)
    if coded:
        return np.where(known, values + 1, 0).astype(np.int64)
    if not known.any():
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.where(known, 1 + np.searchsorted(edges, values, side="right"), 0)
