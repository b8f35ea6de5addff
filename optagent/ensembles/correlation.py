"""Correlated members: groups whose residuals are nearly the same, so that one member can represent the group."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Rows
from optagent.ensembles.members import Members
from optagent.ensembles.target import Target, best_of
from optagent.errors import InvalidRequest

REDUNDANT = 0.98
"""Where residuals of members correlate by at least this, a second member has next to nothing to add."""


@dataclass(frozen=True, slots=True)
class CorrelatedGroup:
    """Members that one represents: `best`, the best alone. `least` is the lowest correlation within the group."""

    best: str
    others: tuple[str, ...]
    least: float


def redundant_groups(members: Members, target: Target, threshold: float = REDUNDANT) -> tuple[CorrelatedGroup, ...]:
    """Groups in which every two members' residuals correlate by at least the threshold, the largest group first.

    Complete linkage: no chain of neighbours joins two members that are apart.
    """
    worths = target.singles(members)
    correlation = members.moments.correlation
    groups = []
    for positions in _clusters(members, threshold):
        best = best_of(worths, positions)
        others = tuple(members.names[index] for index in positions if index != best)
        if others:
            groups.append(
                CorrelatedGroup(members.names[best], others, float(correlation[np.ix_(positions, positions)].min()))
            )
    return tuple(sorted(groups, key=lambda group: (-len(group.others), group.best)))


def _clusters(members: Members, threshold: float) -> list[Rows]:
    """Positions of each group, in the order of names."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if not 0 < threshold <= 1:
        raise InvalidRequest(f"threshold must be above 0 and at most 1, got {threshold}")
    order = members.by_name
    distance = 1 - members.moments.correlation[np.ix_(order, order)]
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="complete")
    group = fcluster(tree, 1 - threshold + 1e-12, criterion="distance")
    return [order[group == number] for number in np.unique(group)]
