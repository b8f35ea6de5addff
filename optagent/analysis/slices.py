"""Slices of observed rows: the values of a column, or its quarters, each with a mask of its rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.arrays import Mask
from optagent.errors import InvalidRequest

_MOST_VALUES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The rows (a mask) of one value, or quarter, of a column."""

    column: str
    value: str
    rows: Mask


def slices_of(observed: ObservedRows, columns: Sequence[str]) -> Iterator[Slice]:
    """Each category (the twenty most frequent), or quarter of a column of numbers or dates, and the missing values."""
    names = [column.name for column in observed.columns]
    for name in columns:
        if name not in names:
            raise InvalidRequest(f"slices: no feature {name!r}; one of {sorted(names)}")
        index = names.index(name)
        yield from _slices(observed.columns[index], observed.x[:, index])


def _slices(column: ObservedColumn, values: npt.NDArray[np.float32]) -> Iterator[Slice]:
    missing = np.isnan(values)
    present = values[~missing]
    if column.kind in ("categorical", "boolean"):
        codes, counts = np.unique(present, return_counts=True)
        for code in codes[np.argsort(-counts, kind="stable")][:_MOST_VALUES]:
            yield Slice(column.name, _label(column, float(code)), values == code)
    elif len(present):
        edges = np.unique(np.quantile(present, [0.0, 0.25, 0.5, 0.75, 1.0], method="inverted_cdf"))
        quarter = np.searchsorted(edges[1:-1], values, side="left")
        for index in range(max(1, len(edges) - 1)):
            low, high = edges[index], edges[min(index + 1, len(edges) - 1)]
            bounds = f"{_number(column, low)} to {_number(column, high)}"
            yield Slice(column.name, bounds, (quarter == index) & ~missing)
    if missing.any():
        yield Slice(column.name, "missing", missing)


def _label(column: ObservedColumn, code: float) -> str:
    if column.kind == "boolean":
        return "true" if code else "false"
    return column.labels[int(code)] if 0 <= code < len(column.labels) else "unseen"


def _number(column: ObservedColumn, value: float) -> str:
    """A date for days since 1970, otherwise the number in four digits."""
    if column.kind == "datetime" and abs(value) < 2_900_000:
        return str(np.datetime64(0, "D") + np.timedelta64(math.floor(value), "D"))
    return f"{value:.4g}"
