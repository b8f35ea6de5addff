"""Pareto fronts of several objectives: ranks, crowding distances and the hypervolume of points.

Points are (points, objectives), larger is better everywhere; turn the sign of what is minimised.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optagent.domain.study import Objective, Trial, TrialState

Points = npt.NDArray[np.float64]


def dominates(points: Points) -> npt.NDArray[np.bool_]:
    """(points, points) mask, True where the row's point beats the column's: nowhere worse, and better somewhere."""
    at_least = (points[:, None, :] >= points[None, :, :]).all(axis=2)
    better = (points[:, None, :] > points[None, :, :]).any(axis=2)
    return np.asarray(at_least & better)


def fronts(points: Points) -> npt.NDArray[np.int64]:
    """The rank of each point: 0 where nothing beats it, 1 where only points of rank 0 do, and so on.

    >>> fronts(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
    [0, 0, 1]
    """
    beaten_by = dominates(points)
    rank = np.full(len(points), -1, dtype=np.int64)
    current = 0
    while (rank < 0).any():
        unranked = rank < 0
        free = unranked & ~beaten_by[unranked].any(axis=0)
        rank[free] = current
        current += 1
    return rank


def front_of(objectives: Sequence[Objective], trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The complete trials that no other beats in every objective, the best by the first one ahead.

    Empty for a single objective.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.score is not None]
    if len(objectives) < 2 or not complete:
        return ()
    points = points_of(objectives, complete)
    best = np.flatnonzero(fronts(points) == 0)
    return tuple(complete[index] for index in best[np.argsort(-points[best, 0], kind="stable")])


def points_of(objectives: Sequence[Objective], trials: Sequence[Trial]) -> Points:
    """Complete trials as points, turned so that larger is better."""
    signs = np.array([objective.sign for objective in objectives])
    return signs * np.array([[trial.score, *(trial.others[one.name] for one in objectives[1:])] for trial in trials])


def crowding(points: Points) -> npt.NDArray[np.float64]:
    """The distance of each point from its neighbours, summed over the objectives; infinite at the ends.

    NSGA-II's crowding distance (Deb et al. 2002, section III-B).
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = math.inf
        if spread > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return distance


def positions(points: Points) -> npt.NDArray[np.int64]:
    """The place of each point, 0 the best: by front, within a front the loneliest first, then the earlier one.

    >>> positions(np.array([[0.3], [0.9], [0.5]])).tolist()
    [2, 0, 1]
    """
    if points.shape[1] == 1:  # one objective: no need to compare every pair
        order = np.lexsort((np.arange(len(points)), -points[:, 0]))
        place = np.empty(len(points), dtype=np.int64)
        place[order] = np.arange(len(points))
        return place
    rank = fronts(points)
    lonely = np.zeros(len(points))
    for front in range(int(rank.max()) + 1):
        members = rank == front
        lonely[members] = crowding(points[members])
    order = np.lexsort((np.arange(len(points)), -lonely, rank))
    place = np.empty(len(points), dtype=np.int64)
    place[order] = np.arange(len(points))
    return place


def hypervolume(points: Points, reference: npt.NDArray[np.float64]) -> float:
    """The volume between the points and a reference that is worse than all of them (Zitzler and Thiele 1998).

    By slicing along the last objective; meant for a few hundred points and up to four objectives.

    >>> hypervolume(np.array([[2.0, 1.0], [1.0, 2.0]]), np.zeros(2))
    3.0
    """
    inside = points[(points > reference).all(axis=1)]
    return float(_volume(inside, reference)) if len(inside) else 0.0


def _volume(points: Points, reference: npt.NDArray[np.float64]) -> float:
    if points.shape[1] == 1:
        return float(points.max() - reference[0])
    order = np.argsort(-points[:, -1], kind="stable")
    heights = np.append(points[order, -1], reference[-1])
    total = 0.0
    for count in range(1, len(points) + 1):
        depth = heights[count - 1] - heights[count]
        if depth > 0:
            slab = points[order[:count], :-1]
            total += depth * _volume(slab[fronts(slab) == 0], reference[:-1])
    return total
