"""Collinear columns: clusters by rank correlation, and the variance inflation of each column."""

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
    """(columns, columns) Spearman correlation on evenly spaced rows, missing values at the mean rank; 0 for a constant
    column."""
    sample = x[:: -(-len(x) // _MOST_ROWS) or 1]
    centred = np.nan_to_num(ranks(np.ascontiguousarray(sample.T))).astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    correlation = np.clip(scaled @ scaled.T, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def clusters(correlation: Matrix64, least: float = CLUSTERED) -> tuple[tuple[int, ...], ...]:
    """Clusters of columns in which every two correlate, with either sign, by at least `least`.

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
    groups = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return tuple(sorted(groups))


def most_stable_columns(groups: Sequence[Sequence[int]], stability: Vector, worth: Vector) -> tuple[int, ...]:
    """The most stable column of each cluster; among equals the one worth most, then the first."""
    columns = [max(cluster, key=lambda index: (stability[index], worth[index], -index)) for cluster in groups]
    return tuple(sorted(columns))


def variance_inflation(correlation: Matrix64) -> Vector:
    """(columns,) 1 / (1 - R²) of each column's ranks on those of all others: 1 is independent, above 10 hardly needed.

    The value is bounded at a million, which a column reaches that is a copy or a sum of others.
    """
    return np.clip(np.diag(np.linalg.inv(correlation + _RIDGE * np.eye(len(correlation)))), 1.0, 1 / _RIDGE)
