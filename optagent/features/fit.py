"""Fitting a feature plan: group means are learned here, from the given rows alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from optagent.arrays import Rows
from optagent.training.plan import GROUPED, FeaturePlan, GroupDifference, GroupMean, Step
from optagent.training.problem import Data
from optagent.training.transform import sort_by_kind

_PRIOR_ROWS = 20.0
"""The overall mean counts as this many rows besides a category's own."""


def fit_plan(data: Data, steps: Sequence[Step], rows: Rows | None = None, dropped: Sequence[str] = ()) -> FeaturePlan:
    """The plan of these steps with group means of `rows` (all rows by default); the target takes no part."""
    fitted = [_fit_group_means(step, data, rows) if isinstance(step, GROUPED) else step for step in sort_by_kind(steps)]
    return FeaturePlan(columns=data.names, steps=tuple(fitted), dropped=tuple(dropped))


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
    means = (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS)
    return replace(step, means=tuple(means.astype(np.float32).tolist()))
