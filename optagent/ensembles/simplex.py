"""Grid search over all weightings of a few models: slow and certain, for any metric."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import GivenWeightings
from optagent.ensembles.target import Target, best_of
from optagent.errors import InvalidRequest

Points = npt.NDArray[np.float64]
"""(points, models) weights, each row summing to 1."""

MAX_POINTS = 20_000
_POINTS_PER_BLOCK = 256


def count_points(models: int, resolution: int) -> int:
    """The number of weightings in steps of 1 / resolution.

    >>> count_points(3, 20)
    231
    >>> count_points(50, 20) > 10**16
    True
    """
    return math.comb(resolution + models - 1, models - 1)


def finest_resolution(models: int, points: int = MAX_POINTS) -> int:
    """The finest resolution up to 100 with at most so many points; 0 where even resolution 2 has more."""
    return max((resolution for resolution in range(2, 101) if count_points(models, resolution) <= points), default=0)


def grid(models: int, resolution: int, limit: int = MAX_POINTS) -> Points:
    """All weightings in steps of 1 / resolution; raises InvalidRequest where there are more than the limit."""
    if resolution < 1:
        raise InvalidRequest(f"resolution must be at least 1, got {resolution}")
    points = count_points(models, resolution)
    if points > limit:
        raise InvalidRequest(
            f"a grid of {models} models in steps of 1/{resolution} has {points:.3g} points, at most {limit} are"
            " searched: give fewer models, or use greedy weights"
        )
    return np.array(list(_compositions(models, resolution))[::-1], dtype=np.float64) / resolution


def simplex(members: Members, target: Target, resolution: int, limit: int = MAX_POINTS) -> Vector:
    """The best weighting on the grid; among equals the one with most weight on the first names."""
    points = grid(len(members), resolution, limit)[:, np.argsort(members.by_name)]
    portions = range(0, len(points), _POINTS_PER_BLOCK)
    worths = [target.worths(members, GivenWeightings(points[start : start + _POINTS_PER_BLOCK])) for start in portions]
    return points[best_of(np.concatenate(worths), np.arange(len(points)))]


def _compositions(parts: int, total: int) -> Iterator[tuple[int, ...]]:
    """Every way to write a total as so many whole numbers from 0, in rising order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(parts - 1, total - first):
            yield (first, *rest)
