"""Fitting a feature plan: means by category and shares of categories are learned here, from the given rows alone."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from optagent.arrays import Rows
from optagent.training.label_encoding import PRIOR_ROWS, fit_target_mean
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data
from optagent.training.steps import CategoryShare, GroupDifference, GroupMean, PairShare, Step
from optagent.training.target_mean import TargetMean
from optagent.training.transform import sort_by_kind


def fit_plan(data: Data, steps: Sequence[Step], rows: Rows | None = None, dropped: Sequence[str] = ()) -> FeaturePlan:
    """The plan of these steps with the numbers of `rows` (all rows by default); only means of the target read it."""
    fitted = tuple(_fit_step(step, data, rows) for step in sort_by_kind(steps))
    return FeaturePlan(columns=data.names, steps=fitted, dropped=tuple(dropped))


def _fit_step(step: Step, data: Data, rows: Rows | None) -> Step:
    if isinstance(step, GroupMean | GroupDifference):
        return _fit_group_means(step, data, rows)
    if isinstance(step, TargetMean):
        return fit_target_mean(step, data, rows)
    if isinstance(step, CategoryShare):
        return replace(step, shares=tuple(_count_shares((step.category,), data, rows).tolist()))
    if isinstance(step, PairShare):
        table = _count_shares((step.a, step.b), data, rows)
        return replace(step, shares=tuple(tuple(row) for row in table.tolist()))
    return step


def _count_shares(names: Sequence[str], data: Data, rows: Rows | None) -> npt.NDArray[np.float32]:
    """The share of the rows of each code, or of each pair of codes; rows that miss one count among all rows."""
    places = [data.names.index(name) for name in names]
    levels = [data.levels[data.categorical.index(place)] for place in places]
    codes = (data.x if rows is None else data.x_of(rows))[:, places]
    known = codes[~np.isnan(codes).any(axis=1)].astype(np.int64)
    cells = np.ravel_multi_index(tuple(known.T), levels)
    counts = np.bincount(cells, minlength=math.prod(levels)).reshape(levels)
    return (counts / max(1, len(codes))).astype(np.float32)


def _fit_group_means(step: GroupMean | GroupDifference, data: Data, rows: Rows | None) -> GroupMean | GroupDifference:
    category, number = data.names.index(step.category), data.names.index(step.number)
    x = data.x if rows is None else data.x_of(rows)
    codes, numbers = x[:, category], x[:, number].astype(np.float64)
    present = ~(np.isnan(codes) | np.isnan(numbers))
    codes, numbers = codes[present].astype(np.int64), numbers[present]
    overall = float(numbers.mean()) if len(numbers) else 0.0
    levels = data.levels[data.categorical.index(category)]
    counts = np.bincount(codes, minlength=levels)
    sums = np.bincount(codes, weights=numbers, minlength=levels)
    means = (sums + PRIOR_ROWS * overall) / (counts + PRIOR_ROWS)
    return replace(step, means=tuple(means.astype(np.float32).tolist()))
