"""Importance drift: the change in the ranking of the features that a model looks at.

Drift is the normalised discounted cumulative gain of Amazon SageMaker Clarify's feature attribution monitor: the
reference's attributions, in the order of the current ranking, against the same in their own order; below .90 alarms.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.performance import AttributionShift, FeatureShift
from optagent.errors import InvalidData

CHANGED_BELOW = 0.90
_MOVERS = 5
_MOVED = 0.01


def attribution_shift(
    names: Sequence[str], reference: Vector, current: Vector, threshold: float = CHANGED_BELOW
) -> AttributionShift:
    """The shift between (columns,) mean absolute contributions of the reference and of current rows.

    Without any contribution on one of the sides there is no ranking, and `reason` says so.
    """
    for values in (reference, current):
        if len(values) != len(names):
            raise InvalidData(f"{len(values)} contributions for {len(names)} columns")
    before, now = _shares(reference), _shares(current)
    if not len(names) or not before.any() or not now.any():
        side = "the reference" if not before.any() else "the window"
        return AttributionShift((), None, threshold, reason=f"{side} has no contribution to rank")
    order_before, order_now = _ranking(before), _ranking(now)
    rank_before = np.argsort(order_before)
    features = tuple(
        FeatureShift(names[column], float(before[column]), float(now[column]), int(rank_before[column]) + 1, rank)
        for rank, column in enumerate(order_now, start=1)
    )
    score = ndcg(before, now)
    movers = sorted(
        (one for one in features if abs(one.change) >= _MOVED), key=lambda one: (-abs(one.change), one.name)
    )
    return AttributionShift(
        features, score, threshold, changed=score < threshold, movers=tuple(one.name for one in movers[:_MOVERS])
    )


def ndcg(reference: Vector, current: Vector) -> float:
    """The gain of the reference's attributions in the current order, as a share of that in their own.

    >>> ndcg(np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.3, 0.1]))
    1.0
    """
    discount = 1 / np.log2(np.arange(2, len(reference) + 2))
    ideal = float(reference[_ranking(reference)] @ discount)
    return min(1.0, float(reference[_ranking(current)] @ discount) / ideal)


def _shares(values: Vector) -> Vector:
    """Shares of the total; values that are not finite or are negative count as nothing."""
    usable = np.where(np.isfinite(values), np.maximum(values, 0.0), 0.0)
    total = usable.sum()
    return usable / total if total > 0 else usable


def _ranking(values: Vector) -> npt.NDArray[np.int64]:
    """Columns, the largest first, equal ones in their order."""
    return np.argsort(-values, kind="stable")
