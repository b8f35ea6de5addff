"""Row types: casts recorded rows to types that survive a Parquet file, groups tables by their types, names days."""

import json
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind, kind_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DAY_US = 86_400_000_000


def storable_rows(rows: pa.Table) -> pa.Table:
    """The rows in types that a Parquet file gives back unchanged; InvalidData for rows that cannot be stored."""
    names = rows.schema.names
    if len(set(names)) < len(names) or not {"id", "time"} <= set(names):
        raise InvalidData(f"rows: columns id and time are needed, and no name twice, got {names[:50]}")
    try:
        table = pa.table({name: _storable_column(name, rows[name]) for name in names})
    except pa.ArrowInvalid as error:
        raise InvalidData(f"rows: {error}") from None
    for name in ("id", "time"):
        if table[name].null_count:
            raise InvalidData(f"column {name!r}: {table[name].null_count} rows without a value")
    return table


def _storable_column(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = kind_of(values.type)
    if kind is None:
        raise InvalidData(f"column {name!r}: type {values.type} cannot be kept")
    if pt.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if name == "time":
        if not pt.is_timestamp(values.type):
            raise InvalidData(f"column 'time': a timestamp is needed, got {values.type}")
        return values.cast(pa.timestamp("us", "UTC"), safe=values.type.unit != "ns")
    if name == "id" and not (kind is Kind.CATEGORICAL or pt.is_integer(values.type)):
        raise InvalidData(f"column 'id': a text is needed, got {values.type}")
    if kind is Kind.CATEGORICAL or name == "id":
        return values.cast(pa.large_string())
    if pt.is_timestamp(values.type) and values.type.unit == "s":
        return values.cast(pa.timestamp("ms", values.type.tz))
    if pt.is_date64(values.type):
        return values.cast(pa.date32())
    return values.cast(pa.time32("ms")) if values.type == pa.time32("s") else values


def types_of(rows: pa.Table) -> str:
    """A digest of 12 hex digits, equal for tables with the same columns of the same types in any order."""
    columns = sorted((item.name, str(item.type)) for item in rows.schema)
    return sha256(json.dumps(columns).encode()).hexdigest()[:12]


def concat_by_types(tables: Iterable[tuple[str, pa.Table]]) -> list[pa.Table]:
    """One table for each set of types, from pairs of (types, table); empty tables are left out."""
    groups: dict[str, list[pa.Table]] = {}
    for types, rows in tables:
        if rows.num_rows:
            groups.setdefault(types, []).append(rows)
    return [pa.concat_tables(align_columns(group)) for group in groups.values()]


def align_columns(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables with their columns in the order of the first one."""
    names = tables[0].schema.names
    return [table if table.schema.names == names else table.select(names) for table in tables]


def days_of(rows: pa.Table) -> npt.NDArray[np.int64]:
    """The day of each row's time (UTC), as a number of days since 1970."""
    return np.floor_divide(rows["time"].cast(pa.int64()).to_numpy(), _DAY_US)


def first_and_last(rows: pa.Table) -> tuple[int, int]:
    """The least and the greatest time of rows, in microseconds."""
    times = pc.min_max(rows["time"].cast(pa.int64())).as_py()
    return times["min"], times["max"]


def name_of_day(day: int) -> str:
    """A number of days since 1970 as YYYY-MM-DD."""
    return str(np.datetime64(day, "D"))


def microseconds(instant: float) -> int:
    """POSIX seconds as whole microseconds, rounded up; infinities become +-2^62. InvalidRequest for NaN."""
    if instant != instant:
        raise InvalidRequest(f"an instant must be a number of POSIX seconds, got {instant!r}")
    return int(max(-(2.0**62), min(2.0**62, np.ceil(instant * 1e6))))


def checked_name(name: str, what: str) -> str:
    """`name` unchanged, if it can name a file or a key; InvalidRequest calls it by `what`."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{what} {name!r}: letters, digits, '_', '.', '-', the first a letter or digit")
    return name
