"""Which members say the same, and which few of a large library are worth having together."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Rows, Vector
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import OneMoreDraw
from optagent.ensembles.target import Target, best_of
from optagent.errors import InvalidRequest

REDUNDANT = 0.98
"""Of members whose residuals correlate as much as this, a second one has next to nothing to add."""

CONSIDERED = 1000
"""Of a larger library the best alone are compared in pairs."""


@dataclass(frozen=True, slots=True)
class CorrelatedGroup:
    """Members of which one stands for all: `best`, the best alone. `least` is the lowest correlation within."""

    best: str
    others: tuple[str, ...]
    least: float


def redundant_groups(members: Members, target: Target, threshold: float = REDUNDANT) -> tuple[CorrelatedGroup, ...]:
    """Groups in which every two members' residuals correlate by at least the threshold, the largest group first.

    Complete linkage: no chain of neighbours joins two that are apart.
    """
    worths = target.singles(members)
    correlation = members.moments.correlation
    found = []
    for positions in _clusters(members, threshold):
        best = best_of(worths, positions)
        others = tuple(members.names[index] for index in positions if index != best)
        if others:
            found.append(
                CorrelatedGroup(members.names[best], others, float(correlation[np.ix_(positions, positions)].min()))
            )
    return tuple(sorted(found, key=lambda group: (-len(group.others), group.best)))


def complementary(members: Members, target: Target, count: int, threshold: float = REDUNDANT) -> tuple[str, ...]:
    """Names of up to `count` members that go well together: the best one, then each time the one whose addition makes
    the mean's squared error least; of redundant ones only the best is considered.

    The squared error holds both how good a member is and how it differs (Krogh and Vedelsby 1995, Neural network
    ensembles, cross validation, and active learning), and needs no further look at the rows. Of a library larger
    than `CONSIDERED` the best alone are compared.
    """
    if count < 1:
        raise InvalidRequest(f"count must be at least 1, got {count}")
    worths = target.singles(members)
    if len(members) > CONSIDERED:
        considered = np.sort(_ranked(members, worths)[:CONSIDERED])
        members, worths = members.only(considered), worths[considered]
    stand_for_all = np.array(
        [best_of(worths, positions) for positions in _clusters(members, threshold)], dtype=np.int64
    )
    gram = members.moments.gram
    ordered = members.by_name[np.isin(members.by_name, stand_for_all)]
    chosen = [best_of(worths, ordered)]
    while len(chosen) < min(count, len(ordered)):
        left = ordered[~np.isin(ordered, chosen)]
        counts = np.bincount(chosen, minlength=len(members))
        chosen.append(int(left[best_of(-OneMoreDraw(counts, left).squares(gram), np.arange(len(left)))]))
    return tuple(members.names[index] for index in chosen)


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


def _ranked(members: Members, worths: Vector) -> Rows:
    """The best first, equal ones by name."""
    order = members.by_name
    return order[np.argsort(-worths[order], kind="stable")]
