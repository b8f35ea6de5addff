"""Feature plan transformer: the same numbers, bit for bit, for a row alone and for the row among many."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Vector
from optagent.errors import InvalidData
from optagent.training.cell_tables import compile_cells
from optagent.training.label_encoding import encode_out_of_fold, encoding_of
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data
from optagent.training.steps import (
    Calendar,
    CategoryShare,
    GroupDifference,
    GroupMean,
    MissingCount,
    Power,
    Step,
    WindowSummary,
)
from optagent.training.target_mean import TargetMean

Indexes = npt.NDArray[np.intp]
Write = Callable[[Matrix, Matrix], object]
"""Fills (rows, steps) from (rows, columns)."""

_LAST_DAY = 2_932_896  # of the year 9999
_NAN = np.float32(np.nan)


class Transformer:
    """A plan compiled once: neighbouring steps of one kind become one operation on blocks of columns."""

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        place = {name: index for index, name in enumerate(plan.columns)}
        kept_columns = plan.kept_columns
        self._takes, self._keeps, self._width = len(plan.columns), len(kept_columns), len(plan.names)
        self._kept_places = _indexes(kept_columns, place) if plan.dropped else None
        self._writes: list[tuple[slice, Write]] = []
        start = 0
        for kind, steps in groupby(plan.steps, key=lambda step: step.kind):
            alike = list(steps)
            self._writes.append((slice(start, start + len(alike)), _COMPILERS[kind](alike, place)))
            start += len(alike)

    def __call__(self, x: Matrix) -> Matrix:
        """(rows, output columns) float32, C-ordered; raises InvalidData for a matrix of another number of columns."""
        x = self._check_matrix(x)
        out = np.empty((len(x), self._width), dtype=np.float32)
        out[:, : self._keeps] = x if self._kept_places is None else x.take(self._kept_places, axis=1)
        if self._writes:
            self._fill(x, out[:, self._keeps :])
        return out

    def compute_steps(self, x: Matrix) -> Matrix:
        """(rows, steps) float32: the columns that the steps compute, without those of `x`."""
        x = self._check_matrix(x)
        out = np.empty((len(x), self._width - self._keeps), dtype=np.float32)
        self._fill(x, out)
        return out

    def _fill(self, x: Matrix, out: Matrix) -> None:
        with np.errstate(all="ignore"):
            for where, write in self._writes:
                write(x, out[:, where])
        # Results of a division by zero or beyond 32 bits count as missing: no family has to know infinity.
        np.copyto(out, _NAN, where=np.isinf(out))

    def _check_matrix(self, x: Matrix) -> Matrix:
        if x.ndim != 2 or x.shape[1] != self._takes:
            raise InvalidData(f"the plan takes a matrix of {self._takes} columns, got an array of shape {x.shape}")
        return np.asarray(x, dtype=np.float32)


def apply_plan(plan: FeaturePlan, x: Matrix) -> Matrix:
    """`Transformer(plan)(x)`, for one use."""
    return Transformer(plan)(x)


def transform_data(plan: FeaturePlan, data: Data) -> Data:
    """The same rows with the columns of the plan; the computed columns are numeric, whatever their sources are.

    Means of the target are those of rows that are trained on: of the labels of other parts, see `label_encoding`.
    """
    codes = dict(zip((data.names[index] for index in data.categorical), data.levels, strict=True))
    categorical = [(index, codes[name]) for index, name in enumerate(plan.kept_columns) if name in codes]
    place = {data.names.index(name): index for index, name in enumerate(plan.kept_columns)}
    earlier = [replace(each, column=place[each.column]) for each in data.encodings if each.column in place]
    steps = enumerate(plan.steps, len(place))
    added = [encoding_of(step, data, index) for index, step in steps if isinstance(step, TargetMean)]
    x = apply_plan(plan, data.x)
    encode_out_of_fold(data, added, x)
    return replace(
        data,
        x=x,
        names=plan.names,
        categorical=tuple(index for index, _ in categorical),
        levels=tuple(levels for _, levels in categorical),
        encodings=(*earlier, *added),
    )


Places = dict[str, int]


def _compile_pairs(operation: np.ufunc) -> Callable[[Sequence[Any], Places], Write]:
    def compile_steps(steps: Sequence[Any], place: Places) -> Write:
        a, b = _indexes([step.a for step in steps], place), _indexes([step.b for step in steps], place)
        return lambda x, out: operation(x.take(a, axis=1), x.take(b, axis=1), out=out)

    return compile_steps


def _compile_powers(steps: Sequence[Power], place: Places) -> Write:
    columns = _indexes([step.a for step in steps], place)
    cubes = np.array([step.degree == 3 for step in steps])

    def write(x: Matrix, out: Matrix) -> None:
        values = x.take(columns, axis=1)
        np.multiply(values, values, out=out)
        np.multiply(out, values, out=out, where=cubes)

    return write


def _compile_groups(steps: Sequence[GroupMean | GroupDifference], place: Places) -> Write:
    return _compile_look_ups(_indexes([step.category for step in steps], place), [step.means for step in steps])


def _compile_shares(steps: Sequence[CategoryShare], place: Places) -> Write:
    return _compile_look_ups(_indexes([step.category for step in steps], place), [step.shares for step in steps])


def _compile_look_ups(columns: Indexes, numbers: Sequence[Sequence[float]]) -> Write:
    """The number of the code in each of the columns; missing where the code has none."""
    levels = np.array([len(each) for each in numbers])
    missing = int(levels.max())
    table = np.full((len(columns), missing + 1), np.nan, dtype=np.float32)
    for row, each in zip(table, numbers, strict=True):
        row[: len(each)] = each
    step_indexes = np.arange(len(columns))

    def write(x: Matrix, out: Matrix) -> None:
        codes = x.take(columns, axis=1)
        has_level = (codes >= 0) & (codes < levels)
        out[:] = table[step_indexes, np.where(has_level, codes, missing).astype(np.intp)]

    return write


def _compile_missing_counts(steps: Sequence[MissingCount], place: Places) -> Write:
    over = [_indexes(step.over, place) for step in steps]

    def write(x: Matrix, out: Matrix) -> None:
        for position, columns in enumerate(over):
            out[:, position] = np.isnan(x.take(columns, axis=1)).sum(axis=1)

    return write


def _compile_group_differences(steps: Sequence[GroupDifference], place: Places) -> Write:
    numbers, means = _indexes([step.number for step in steps], place), _compile_groups(steps, place)

    def write(x: Matrix, out: Matrix) -> None:
        means(x, out)
        np.subtract(x.take(numbers, axis=1), out, out=out)

    return write


def _compile_calendars(steps: Sequence[Calendar], place: Places) -> Write:
    parts = [(place[step.column], _PARTS[step.part]) for step in steps]

    def write(x: Matrix, out: Matrix) -> None:
        for position, (column, part) in enumerate(parts):
            days = x[:, column].astype(np.float64)
            is_date = np.abs(days) <= _LAST_DAY
            out[:, position] = np.where(is_date, part(np.where(is_date, days, 0.0)), np.nan)

    return write


def _compile_windows(steps: Sequence[WindowSummary], place: Places) -> Write:
    over = [(_indexes(step.over, place), step.how) for step in steps]

    def write(x: Matrix, out: Matrix) -> None:
        for position, (columns, how) in enumerate(over):
            values = x.take(columns, axis=1)
            if how == "range":
                out[:, position] = values.max(axis=1) - values.min(axis=1)
                continue
            total = values[:, 0].astype(np.float64)
            for column in range(1, len(columns)):  # one by one: a sum over an axis may add in another order
                total += values[:, column]
            out[:, position] = total / len(columns)

    return write


def _truncate_dates(days: Vector, unit: str) -> npt.NDArray[Any]:
    return np.floor(days).astype(np.int64).astype("datetime64[D]").astype(f"datetime64[{unit}]")


def _days_since_start(days: Vector, unit: str) -> Vector:
    """Days since the start of the month or year."""
    start: Vector = _truncate_dates(days, unit).astype("datetime64[D]").astype(np.float64)
    return np.floor(days) - start


_PARTS: dict[str, Callable[[Vector], Vector]] = {
    # A 32-bit day of our time is exact to minutes only, so that 10:00 may be 9:59: quarters of an hour are safe.
    "hour": lambda days: np.round((days - np.floor(days)) * 96) / 4,
    "weekday": lambda days: (np.floor(days) + 3) % 7,
    "day": lambda days: _days_since_start(days, "M") + 1,
    "month": lambda days: _truncate_dates(days, "M").astype(np.float64) % 12 + 1,
    "yearday": lambda days: _days_since_start(days, "Y") + 1,
}

_COMPILERS: dict[str, Callable[[Any, Places], Write]] = {
    "product": _compile_pairs(np.multiply),
    "ratio": _compile_pairs(np.divide),
    "difference": _compile_pairs(np.subtract),
    "power": _compile_powers,
    "group_mean": _compile_groups,
    "group_difference": _compile_group_differences,
    "category_share": _compile_shares,
    "pair_share": compile_cells,
    "target_mean": compile_cells,
    "calendar": _compile_calendars,
    "window": _compile_windows,
    "missing_count": _compile_missing_counts,
}


def _indexes(names: Sequence[str], place: Places) -> Indexes:
    return np.array([place[name] for name in names], dtype=np.intp)


def sort_by_kind(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps in the order in which they are computed fastest: those of one kind side by side."""
    return tuple(sorted(steps, key=lambda step: list(_COMPILERS).index(step.kind)))
