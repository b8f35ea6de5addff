"""Columns that say the same: clusters by rank correlation, and how well the others predict each."""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from optagent.arrays import Matrix, Matrix64, Vector
from optagent.errors import InvalidRequest
from optagent.features.basis import ranks

CLUSTERED = 0.95
_MOST_ROWS = 10_000
_RIDGE = 1e-6


def rank_correlation(x: Matrix) -> Matrix64:
    """(columns, columns) Spearman's on evenly spaced rows, missing values at the mean rank; 0 of a constant column."""
    thin = x[:: -(-len(x) // _MOST_ROWS) or 1]
    centred = np.nan_to_num(ranks(np.ascontiguousarray(thin.T))).astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    found = np.clip(scaled @ scaled.T, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return found


def clusters(correlation: Matrix64, least: float = CLUSTERED) -> tuple[tuple[int, ...], ...]:
    """Columns whose correlation, of either sign, is at least that with every other of their cluster.

    >>> clusters(np.array([[1, -0.99, 0], [-0.99, 1, 0], [0, 0, 1]]))
    ((0, 1), (2,))
    """
    if not 0 < least <= 1:
        raise InvalidRequest(f"the correlation of a cluster must be above 0 and at most 1, got {least}")
    count = len(correlation)
    if count < 2:
        return tuple((index,) for index in range(count))
    distance = 1 - np.abs(correlation)
    labels = fcluster(linkage(squareform(distance, checks=False), "complete"), 1 - least + 1e-12, "distance")
    found = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return tuple(sorted(found))


def most_stable(found: Sequence[Sequence[int]], stability: Vector, worth: Vector) -> tuple[int, ...]:
    """Of each cluster the most stable column; of equals the one worth most, then the first."""
    chosen = [max(cluster, key=lambda index: (stability[index], worth[index], -index)) for cluster in found]
    return tuple(sorted(chosen))


def variance_inflation(correlation: Matrix64) -> Vector:
    """(columns,) 1 / (1 - R²) of each column's ranks on those of all others: 1 is on its own, above 10 hardly needed.

    Bounded at a million, where a column is a copy or a sum of others.
    """
    return np.clip(np.diag(np.linalg.inv(correlation + _RIDGE * np.eye(len(correlation)))), 1.0, 1 / _RIDGE)
