"""Row times: the time of each row as a number that can be compared with the label horizon."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Vector
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of, require_columns
from optagent.training.values import first_unreadable, timestamps

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def instants(table: pa.Table, spec: ModelSpec) -> Vector | None:
    """(rows,) seconds since 1970 for a column of dates (texts in ISO 8601 too), the numbers themselves for a numeric
    column, the rows' positions with `rows_in_time_order`, and None for rows without an order.
    """
    if spec.rows_in_time_order:
        _check_horizon(spec, dates=False, where="rows_in_time_order")
        return np.arange(table.num_rows, dtype=np.float64)
    if spec.time_column is None:
        return None
    name = spec.time_column
    require_columns([name], table.schema.names, "time_column")
    values = table.column(name)
    seconds = seconds_of(values, name)
    _check_horizon(spec, dates=not is_numeric_time(values.type), where=f"time_column {name!r}")
    return seconds


def is_numeric_time(kind: pa.DataType) -> bool:
    """True for times that are numbers, not dates."""
    return kind_of(kind.value_type if pt.is_dictionary(kind) else kind) is Kind.NUMERIC


def seconds_of(values: pa.ChunkedArray, name: str) -> Vector:
    """(rows,) the times in a column of this name, as `instants` has them; raises InvalidData."""
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise InvalidData(f"time_column {name!r}: {values.null_count} rows without a time, the first is row {row}")
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    kind = kind_of(values.type)
    if kind is Kind.CATEGORICAL:
        values = _parse_texts(values, name)
    elif kind not in (Kind.NUMERIC, Kind.DATETIME):
        raise InvalidData(f"time_column {name!r}: type {values.type} has no order in time")
    seconds = _seconds(values)
    if not np.isfinite(seconds).all():
        row = int(np.argmin(np.isfinite(seconds)))
        raise InvalidData(f"time_column {name!r}: the number in row {row} is not a time")
    return seconds


def comparable_times(values: pa.ChunkedArray, name: str) -> Vector:
    """(rows,) the times of `seconds_of`, dates in whole microseconds: equal ones are equal whatever their type."""
    seconds = seconds_of(values, name)
    return seconds if is_numeric_time(values.type) else np.round(seconds * 1e6) / 1e6


def _parse_texts(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    texts = pc.cast(values, pa.string())
    try:
        return timestamps(texts)
    except pa.ArrowInvalid:
        bad = first_unreadable(texts)
        raise InvalidData(
            f"time_column {name!r}: {bad} has no order in time; dates as 2024-01-31 or 2024-01-31T08:00:00"
        ) from None


def _seconds(values: pa.ChunkedArray) -> Vector:
    if pt.is_date(values.type):
        values = pc.cast(values, pa.timestamp("s"))
    if pt.is_temporal(values.type):
        unit = _PER_SECOND[values.type.unit]
        values = pc.cast(values, pa.int32() if pt.is_time32(values.type) else pa.int64())
        return np.asarray(values.to_numpy(), dtype=np.float64) / unit
    return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _check_horizon(spec: ModelSpec, dates: bool, where: str) -> None:
    """Raises InvalidData unless the horizon and an embargo are durations for dates and numbers for other times: a
    mixture would purge the wrong rows."""
    spans = [("label_horizon", spec.label_horizon, spec.horizon)]
    if isinstance(spec.folds, FoldScheme):
        spans.append(("embargo", spec.folds.embargo, spec.folds.embargo_span))
    for name, span, length in spans:
        if length and isinstance(span, str) != dates:
            expected = "a duration such as 24h" if dates else "a number in the unit of the time"
            raise InvalidData(f"{name} {span!r}: with {where} it is {expected}")
