"""Sent rows of a model with a history: their series, times and numbers, and the rows with their history as columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Matrix64
from optagent.errors import InvalidData
from optagent.serving.column_readers import microseconds, value_repr
from optagent.training.columns import Kind, kind_of
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.table import key_text, key_texts
from optagent.training.row_times import comparable_times
from serve_app.data_plane.body_limits import LONGEST_NAME

ONE_SERIES = ""


class SentRows(NamedTuple):
    """The rows of a request as a plan reads them: their series, None without one, and their times."""

    plan: HistoryPlan
    series: Sequence[str | None]
    time: Sequence[float]


def read_sent_rows(rows: Any, size: int, plan: HistoryPlan, arrival: float, needs_key: bool) -> SentRows:
    """Reads the key and the time; a row without a date has that of its arrival. Raises InvalidData.

    Without `needs_key`, rows that lack the column of the key have no past.
    """
    return SentRows(plan, _read_series(rows, size, plan, needs_key), _read_times(rows, size, plan, arrival))


def read_numbers(rows: Any, size: int, plan: HistoryPlan) -> Matrix64:
    """(rows, columns of the plan) the numbers of rows that were answered, NaN where there is none."""
    out = np.full((size, len(plan.columns)), np.nan)
    for at, name in enumerate(plan.columns):
        values = _values_of(rows, name)
        if isinstance(values, pa.ChunkedArray):
            numeric = kind_of(values.type) in (Kind.NUMERIC, Kind.BOOLEAN)
            out[:, at] = (
                pc.fill_null(pc.cast(values, pa.float64(), safe=False), np.nan).to_numpy() if numeric else np.nan
            )
        elif values is not None:
            out[:, at] = [_number(value) for value in values]
    return out


def add_columns(rows: Any, names: Sequence[str], matrix: Matrix64) -> Any:
    """The rows with these columns, in the form in which they came; a row keeps the values that it brings."""
    if isinstance(rows, pa.Table):
        for at, name in enumerate(names):
            if name not in rows.schema.names:
                rows = rows.append_column(name, pa.array(np.ascontiguousarray(matrix[:, at]), from_pandas=True))
        return rows
    cells = [[None if value != value else value for value in row] for row in matrix.tolist()]
    if isinstance(rows, Mapping):
        return {**{name: list(values) for name, values in zip(names, zip(*cells, strict=True), strict=True)}, **rows}
    return [{**dict(zip(names, values, strict=True)), **row} for values, row in zip(cells, rows, strict=True)]


def has_named_rows(rows: Any) -> bool:
    """True for rows whose columns can be told by name; a reader refuses others, and says why."""
    if isinstance(rows, pa.Table):
        return True
    if isinstance(rows, Mapping):
        return bool(rows) and all(isinstance(values, list) for values in rows.values())
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def _values_of(rows: Any, name: str) -> Any:
    """The values of a column, None where no row has it."""
    if isinstance(rows, pa.Table):
        return rows.column(name) if name in rows.schema.names else None
    if isinstance(rows, Mapping):
        return rows.get(name)
    return [row.get(name) for row in rows] if any(name in row for row in rows) else None


def _read_series(rows: Any, size: int, plan: HistoryPlan, needs_key: bool) -> Sequence[str | None]:
    if plan.key is None:
        return [ONE_SERIES] * size
    values = _values_of(rows, plan.key)
    if values is None:
        if needs_key:
            raise InvalidData(f"row 0: the column {plan.key!r} is missing; give null where there is no value")
        return [None] * size
    if isinstance(values, pa.ChunkedArray):
        values = key_texts(values, plan.key).to_pylist()
    return [_series_name(value, plan.key, row) for row, value in enumerate(_check_size(values, size, plan.key))]


def _series_name(value: Any, name: str, row: int) -> str | None:
    try:
        text = key_text(value)
    except ValueError:
        rule = "a text, a whole number or null"
        raise InvalidData(f"row {row}: column {name!r} takes {rule}, got {value_repr(value)}") from None
    if text is not None and not 0 < len(text) <= LONGEST_NAME:
        raise InvalidData(f"row {row}: column {name!r} takes keys of 1 to {LONGEST_NAME} characters")
    return text


def _read_times(rows: Any, size: int, plan: HistoryPlan, arrival: float) -> Sequence[float]:
    values = _values_of(rows, plan.time)
    if values is None and not plan.numeric_time:
        return [arrival] * size
    if isinstance(values, pa.ChunkedArray):
        if not values.null_count:
            return list(comparable_times(values, plan.time).tolist())
        values = [None if moment is None else str(moment) for moment in values.to_pylist()]
    if values is None:
        raise InvalidData(f"row 0: the column {plan.time!r} is missing, whose numbers order the rows")
    return [_read_time(value, plan, row, arrival) for row, value in enumerate(_check_size(values, size, plan.time))]


def _read_time(value: Any, plan: HistoryPlan, row: int, arrival: float) -> float:
    number = float("nan")
    try:
        if plan.numeric_time:
            number = _number(None if isinstance(value, bool) else value)
        elif not isinstance(value, bool):
            moment = microseconds(value)
            number = arrival if moment is None else moment / 1e6
    except (ValueError, TypeError, OverflowError):
        pass
    if not math.isfinite(number):
        rule = "a number" if plan.numeric_time else "an ISO 8601 text, seconds since 1970 or null"
        raise InvalidData(f"row {row}: column {plan.time!r} takes {rule}, got {value_repr(value)}")
    return number


def _check_size(values: Sequence[Any], size: int, name: str) -> Sequence[Any]:
    if len(values) != size:
        raise InvalidData(f"columns: {name!r} has {len(values)} values; there are {size} rows")
    return values


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else float("nan")
    except OverflowError:
        return float("nan")
