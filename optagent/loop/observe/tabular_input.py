"""Tabular input in any container, read as columns: one array of numbers, texts, booleans or dates for each column.

The containers are a pyarrow Table or RecordBatch, a pandas DataFrame, a list of dicts (ragged, of mixed types) and a
dict of columns. Row numbers count from 0.
"""

import datetime as dt
import decimal
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.errors import InvalidData
from optagent.training.columns import LONGEST_NAME, Kind, kind_of

MOST_ROWS = 1_000_000
TEXT = pa.large_string()


def read_columns(rows: Any) -> dict[str, pa.Array]:
    """The columns of the rows, with texts as large_string; `id` must be among them."""
    names, arrays = _names_and_arrays(rows)
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise InvalidData(f"rows: columns {first_names(duplicates)} stand twice")
    if "" in names:
        raise InvalidData("rows: a column has no name")
    columns = dict(zip(names, arrays, strict=True))
    if "id" not in columns:
        raise InvalidData(f"rows: a column 'id' is needed, got {first_names(columns)}")
    return {name: _plain_column(name, values) for name, values in columns.items()}


def first_names(names: Iterable[str]) -> list[str]:
    """The beginnings of at most 50 names, as much as fits into a message."""
    return [str(name)[:LONGEST_NAME] for name in islice(names, 50)]


def _names_and_arrays(rows: Any) -> tuple[list[str], list[pa.Array]]:
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        _check_size(rows.num_rows)
        return rows.schema.names, [rows.column(at).combine_chunks() for at in range(rows.num_columns)]
    if isinstance(rows, pd.DataFrame):
        _check_size(len(rows))
        names = [str(name) for name in rows.columns]
        return names, [_from_values(name, rows.iloc[:, at]) for at, name in enumerate(names)]
    if isinstance(rows, Mapping):
        return _from_mapping(rows)
    if isinstance(rows, list | tuple):
        return _from_dicts(rows)
    supported = "a pyarrow Table, a pandas DataFrame, a list of dicts or a dict of columns"
    raise InvalidData(f"rows: {supported} is needed, got {type(rows).__name__}")


def _from_mapping(rows: Mapping[Any, Any]) -> tuple[list[str], list[pa.Array]]:
    names = [str(name) for name in rows]
    for name, values in zip(names, rows.values(), strict=True):
        if isinstance(values, str | bytes) or not hasattr(values, "__len__") or isinstance(values, Mapping | set):
            raise InvalidData(f"column {name!r}: a list of values is needed, got {values!r:.100}")
    lengths = {name: len(values) for name, values in zip(names, rows.values(), strict=True)}
    if len(set(lengths.values())) > 1:
        raise InvalidData(f"rows: the columns are of different lengths: {dict(list(lengths.items())[:50])}")
    _check_size(next(iter(lengths.values()), 0))
    return names, [_from_values(name, values) for name, values in zip(names, rows.values(), strict=True)]


def _from_dicts(rows: Sequence[Any]) -> tuple[list[str], list[pa.Array]]:
    """The columns of a list of dicts; a key that a row lacks is missing there."""
    _check_size(len(rows))
    keys: dict[Any, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidData(f"rows: row {number} is {row!r:.100}; a dict is needed")
        keys.update(dict.fromkeys(row))
    return [str(key) for key in keys], [_from_values(str(key), [row.get(key) for row in rows]) for key in keys]


def _from_values(name: str, values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, pd.Index):
        values = pd.Series(values)
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.DatetimeTZDtype):
        # Times in UTC without a zone: pandas 3.1 warns about the way in which pyarrow 25 reads a zone.
        values = values.dt.tz_convert(None)
    if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        values = values.to_numpy()  # otherwise NaN would become null here, and nowhere else
    try:
        array = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _from_mixed_values(name, list(values))
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array if kind_of(array.type) is not None else _from_mixed_values(name, list(values))


def _from_mixed_values(name: str, values: Sequence[Any]) -> pa.Array:
    """A column of values of several types: numbers where all are numbers, otherwise texts."""
    for row, value in enumerate(values):
        if not _is_scalar(value):
            raise InvalidData(f"column {name!r}: {value!r:.100} in row {row} is neither number, text, boolean nor date")
    present = [None if _is_missing(value) else value for value in values]
    if all(value is None or isinstance(value, bool | int | float | np.number | np.bool_) for value in present):
        return pa.array([None if value is None else _as_float(value) for value in present], pa.float64())
    texts = [None if value is None else _as_text(value) for value in present]
    for row, text in enumerate(texts):
        if text is not None and _is_broken(text):
            raise InvalidData(f"column {name!r}: {text!r:.100} in row {row} is no text in Unicode")
    return pa.array(texts, TEXT)


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_scalar(value: Any) -> bool:
    kinds = (str, bool, int, float, decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID, np.number, np.bool_)
    return _is_missing(value) or isinstance(value, (*kinds, np.datetime64, np.timedelta64))


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _plain_column(name: str, values: pa.Array) -> pa.Array:
    """Texts as large_string, categories as their values; raises InvalidData for nested and binary columns."""
    if isinstance(values, pa.ExtensionArray):
        values = _from_mixed_values(name, values.to_pylist())
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = kind_of(values.type)
    if kind is None:
        row = int(np.argmax(pc.is_valid(values).to_numpy(zero_copy_only=False))) if len(values) else 0
        value = f"{values[row].as_py()!r:.100}"
        raise InvalidData(
            f"column {name!r}: {value} in row {row} is {values.type}; a number, text, boolean or date is needed"
        )
    return values.cast(TEXT) if kind is Kind.CATEGORICAL else values


def _check_size(count: int) -> None:
    if not count:
        raise InvalidData("rows: there are none")
    if count > MOST_ROWS:
        raise InvalidData(f"rows: {count:,} in one call, the limit is {MOST_ROWS:,}; send them in parts")
