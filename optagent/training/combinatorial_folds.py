"""Combinatorial purged folds: every choice of a few stretches of time validates, and the rows around it train.

López de Prado 2018, Advances in Financial Machine Learning, ch. 7 (purge and embargo) and 12 (combinations and paths).
Training rows come before and after those that validate: a row before is purged where its label window (t, t + horizon]
reaches the first of them, a row after where it begins in the label window of the last of them or in the embargo that
follows. The holdout, which no split sees, is still the newest part of the rows.
"""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from optagent.arrays import Codes, Rows, Vector
from optagent.domain.fold_scheme import FoldScheme
from optagent.training.entities import without_entities
from optagent.training.problem import Fold


def combinatorial_folds(
    order: Rows, when: Vector, cuts: list[int], scheme: FoldScheme, horizon: float, entity: Codes | None = None
) -> tuple[Fold, ...]:
    """The folds of all choices, the oldest groups first; `cuts` are the positions in `order` at which groups begin.

    `order` are the rows by time, `when` (rows,) their sorted times. Times of one group never stand in another.
    """
    group = np.searchsorted(cuts, np.arange(len(order)), side="right").astype(np.int64) - 1
    bounds = [*cuts, len(order)]
    folds = []
    for chosen in combinations(range(scheme.groups), scheme.test):
        valid = np.isin(group, chosen)
        train = ~valid
        for first in chosen:
            train &= ~_leaks(when, when[bounds[first]], when[bounds[first + 1] - 1], horizon, scheme.embargo_span)
        judged = order[valid]
        folds.append(Fold(without_entities(order[train], judged, entity), judged, group[valid]))
    return tuple(folds)


def _leaks(when: Vector, start: float, end: float, horizon: float, embargo: float) -> npt.NDArray[np.bool_]:
    """The rows that share what they know with rows from `start` to `end`."""
    before = (when < start) & (when + horizon >= start)
    after = (when > end) & (when <= end + horizon + embargo)
    return before | after


def group_bounds(rows: int, groups: int) -> list[int]:
    """The positions at which groups should begin, all of as many rows; the last one has the rest, too.

    >>> group_bounds(11, 3)
    [0, 3, 6]
    """
    return [number * (rows // groups) for number in range(groups)]
