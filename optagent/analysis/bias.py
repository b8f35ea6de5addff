"""Group fairness of a classifier: the largest gap between groups of a sensitive column, as fairlearn measures it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Codes, Vector

Difference = Callable[[Codes, Codes, npt.NDArray[np.str_]], float]

LEAST_ROWS = 30
"""Smaller groups are left out: a rate of so few rows is nine points off as a rule."""

LEAST_OF_CLASS = 10
"""Rows of a class, and of the others, that a group needs for the rates of that class."""

PARITY = "demographic parity"
ODDS = "equalized odds"


@dataclass(frozen=True, slots=True)
class GroupGap:
    """The largest difference between two groups, None where there are not two to compare.

    For `demographic parity` it is that of the shares labelled as a class, for `equalized odds` that of the
    true-positive or of the false-positive rates, whichever is larger. Of several classes, each is held against the rest
    and the worst counts: `worst_class` is its index. `groups` are the rows by group, `left_out` those of groups that
    were too small for any class.
    """

    measure: str
    difference: float | None
    worst_class: int | None
    groups: Mapping[str, int]
    left_out: Mapping[str, int]


def group_differences(y: Vector, prediction: Vector, groups: Sequence[str]) -> tuple[GroupGap, GroupGap]:
    """Demographic parity and equalized odds of (rows,) or (rows, classes) probabilities, by (rows,) names of groups.

    A row is labelled 1 from one half on, or with its most probable class. Raises ValueError for probabilities that are
    no numbers.
    """
    if not np.isfinite(prediction).all():
        raise ValueError("the predictions hold a value that is not finite")
    labels = (prediction >= 0.5).astype(np.int64) if prediction.ndim == 1 else prediction.argmax(axis=1)
    truth, group_of_row = y.astype(np.int64), np.asarray(groups, dtype=np.str_)
    classes = [1] if prediction.ndim == 1 else list(range(prediction.shape[1]))
    return (
        _worst_gap(PARITY, _parity_difference, truth, labels, group_of_row, classes, of_class=0),
        _worst_gap(ODDS, _odds_difference, truth, labels, group_of_row, classes, of_class=LEAST_OF_CLASS),
    )


def _worst_gap(
    measure: str,
    difference: Difference,
    truth: Codes,
    labels: Codes,
    groups: npt.NDArray[np.str_],
    classes: Sequence[int],
    of_class: int,
) -> GroupGap:
    sizes = dict(_group_sizes(groups))
    gaps: list[tuple[float, int]] = []
    ever_comparable: set[str] = set()
    for each in classes:
        comparable = [name for name, rows in sizes.items() if _is_enough(truth[groups == name] == each, rows, of_class)]
        if len(comparable) < 2:
            continue
        included = np.isin(groups, comparable)
        ever_comparable.update(comparable)
        true, predicted = (truth[included] == each).astype(np.int64), (labels[included] == each).astype(np.int64)
        gaps.append((difference(true, predicted, groups[included]), each))
    worst = max(gaps, default=(None, None))
    return GroupGap(
        measure,
        worst[0],
        worst[1],
        {name: rows for name, rows in sizes.items() if name in ever_comparable},
        {name: rows for name, rows in sizes.items() if name not in ever_comparable},
    )


def _group_sizes(groups: npt.NDArray[np.str_]) -> Iterator[tuple[str, int]]:
    names, counts = np.unique(groups, return_counts=True)
    return zip(names.tolist(), counts.tolist(), strict=True)


def _is_enough(positive: npt.NDArray[np.bool_], rows: int, of_class: int) -> bool:
    count = int(np.count_nonzero(positive))
    return rows >= LEAST_ROWS and min(count, rows - count) >= of_class


def _parity_difference(truth: Codes, labels: Codes, groups: npt.NDArray[np.str_]) -> float:
    from fairlearn.metrics import demographic_parity_difference

    return float(demographic_parity_difference(truth, labels, sensitive_features=groups))


def _odds_difference(truth: Codes, labels: Codes, groups: npt.NDArray[np.str_]) -> float:
    from fairlearn.metrics import equalized_odds_difference

    return float(equalized_odds_difference(truth, labels, sensitive_features=groups))
