"""Label join: one prediction an id, and its label, whatever the order of arrival."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Mask, Vector

Index = npt.NDArray[np.int64]
Hash = npt.NDArray[np.uint64]

ID, TIME = "id", "time"
_NULL = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class CountedRows:
    """The rows that count, in the order of time and then of ids.

    `table` and `row` (rows,) say where a row is, `ids` are texts, `time_us` microseconds since 1970, and `copies` how
    many other rows of the same id were left out for it.
    """

    table: Index
    row: Index
    ids: pa.LargeStringArray
    time_us: Index
    copies: Index

    def __len__(self) -> int:
        return len(self.row)

    def select(self, rows: Index) -> "CountedRows":
        return CountedRows(
            self.table[rows], self.row[rows], self.ids.take(pa.array(rows)), self.time_us[rows], self.copies[rows]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels as they came: texts, microseconds, and numbers that are NaN where none is known; `unusable` (rows,) are
    those that are no class or number of the model. `outcome` are further numeric columns."""

    ids: pa.LargeStringArray
    time_us: Index
    y: Vector
    unusable: Mask
    outcome: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedLabels:
    """For each id asked for: its label and outcomes (NaN where none), what was wrong with it, and how many of its
    labels were left out as exact copies."""

    y: Vector
    outcome: Mapping[str, Vector]
    unusable: Mask
    conflicting: Mask
    skewed: Mask
    copies: Index


def deduplicate_rows(tables: Sequence[pa.Table], keep: Sequence[Mask] | None = None) -> CountedRows:
    """One row for each id, of the rows to `keep` (all without it): the earliest, and at equal times that of least hash.

    Rows without an id or a time are left out. The same rows in another order, in other tables, or several times over,
    give the same, apart from the copies.
    """
    table, row, ids, time_us = _keys(tables, keep)
    codes = pc.dictionary_encode(ids)
    of_id = codes.indices.to_numpy().astype(np.int64)
    rows_of_id = np.bincount(of_id, minlength=len(codes.dictionary))
    best = np.arange(len(ids))
    repeated = np.flatnonzero(rows_of_id[of_id] > 1)
    if len(repeated):
        content = _content_hash(tables, table[repeated], row[repeated])
        ranked = repeated[np.lexsort((content, time_us[repeated], of_id[repeated]))]
        first = ranked[_starts(of_id[ranked])]
        best = np.concatenate([np.flatnonzero(rows_of_id[of_id] == 1), first])
    ids, time_us = ids.take(pa.array(best)), time_us[best]
    order = _order(time_us, ids)
    best = best[order]
    return CountedRows(
        table=table[best],
        row=row[best],
        ids=ids.take(pa.array(order)),
        time_us=time_us[order],
        copies=rows_of_id[of_id[best]] - 1,
    )


def join_labels(ids: pa.LargeStringArray, time_us: Index, labels: Labels) -> JoinedLabels:
    """The label of each of the `ids` (all distinct): its latest, and none where two labels of that time differ.

    Labels for other ids change nothing.
    """
    places = pc.index_in(labels.ids, value_set=ids)
    matched = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
    target = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)[matched]
    time, content = labels.time_us[matched], _label_hash(labels)[matched]
    order = np.lexsort((content, time, target))
    matched, target, time, content = matched[order], target[order], time[order], content[order]
    copy = np.zeros(len(matched), dtype=np.bool_)
    copy[1:] = (target[1:] == target[:-1]) & (time[1:] == time[:-1]) & (content[1:] == content[:-1])
    copies = np.bincount(target[copy], minlength=len(ids))
    matched, target, time = matched[~copy], target[~copy], time[~copy]
    last = _ends(target)
    before = last - 1
    differs = (before >= 0) & (target[before] == target[last]) & (time[before] == time[last])
    conflicting = np.zeros(len(ids), dtype=np.bool_)
    conflicting[target[last[differs]]] = True
    used, of_id = matched[last[~differs]], target[last[~differs]]
    unusable, skewed = np.zeros(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.bool_)
    unusable[of_id] = labels.unusable[used]
    skewed[of_id] = (labels.time_us[used] < time_us[of_id]) & ~np.isnan(labels.y[used])
    return JoinedLabels(
        y=_scatter(labels.y, used, of_id, len(ids)),
        outcome={name: _scatter(labels.outcome[name], used, of_id, len(ids)) for name in sorted(labels.outcome)},
        unusable=unusable,
        conflicting=conflicting,
        skewed=skewed,
        copies=copies,
    )


def first_label_times(ids: pa.LargeStringArray, labels: Labels) -> Index:
    """(ids,) microseconds at which the first usable label of each id came, -1 where none has."""
    places = pc.fill_null(pc.index_in(labels.ids, value_set=ids), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    usable = (places >= 0) & ~np.isnan(labels.y)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(first, places[usable], labels.time_us[usable])
    return np.where(first == np.iinfo(np.int64).max, -1, first)


def count_orphans(labels: pa.LargeStringArray, tables: Sequence[pa.Table]) -> int:
    """The number of ids that have a label and no prediction in any of the tables."""
    predicted = concat_texts([table.column(ID) for table in tables])
    unknown = labels.filter(pc.invert(pc.is_in(labels, value_set=predicted)))
    return int(pc.count_distinct(unknown).as_py())


def sample_by_id(chosen: CountedRows, most: int) -> CountedRows:
    """At most `most` of the rows, by the hash of their ids, so that the same ids stay whatever else is there."""
    if len(chosen) <= most:
        return chosen
    return chosen.select(np.sort(np.argsort(_text_hash(chosen.ids), kind="stable")[:most]))


def concat_texts(columns: Sequence[pa.ChunkedArray]) -> pa.LargeStringArray:
    """Columns of texts one after the other."""
    parts = [chunk for column in columns for chunk in pc.cast(column, pa.large_string()).chunks]
    return pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())


def microseconds(column: pa.ChunkedArray) -> Index:
    """Instants since 1970 UTC; 0 for null."""
    if pt.is_timestamp(column.type):
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy(), dtype=np.int64)


def _keys(tables: Sequence[pa.Table], keep: Sequence[Mask] | None) -> tuple[Index, Index, pa.LargeStringArray, Index]:
    """Table, row, id and time of the rows to keep that have both an id and a time."""
    table = np.repeat(np.arange(len(tables)), [part.num_rows for part in tables])
    row = np.concatenate([np.arange(part.num_rows) for part in tables] or [np.empty(0, dtype=np.int64)])
    ids = concat_texts([part.column(ID) for part in tables])
    times = [microseconds(part.column(TIME)) for part in tables]
    time_us = np.concatenate(times or [np.empty(0, dtype=np.int64)])
    has_both = [ids.is_valid().to_numpy(zero_copy_only=False)]
    if tables:
        has_both.append(np.concatenate([part.column(TIME).is_valid().to_numpy() for part in tables]))
    if keep:
        has_both.append(np.concatenate(list(keep)))
    wanted = np.flatnonzero(np.logical_and.reduce(has_both))
    if len(wanted) == len(row):
        return table, row, ids, time_us
    return table[wanted], row[wanted], ids.take(pa.array(wanted)), time_us[wanted]


def _order(time_us: Index, ids: pa.LargeStringArray) -> Index:
    keys = pa.table({TIME: time_us, ID: ids})
    indices = pc.sort_indices(keys, sort_keys=[(TIME, "ascending"), (ID, "ascending")])
    return indices.to_numpy().astype(np.int64)


def _starts(groups: Index) -> Index:
    """The first position of each run of equal values."""
    return np.flatnonzero(np.diff(groups, prepend=-1) != 0)


def _ends(groups: Index) -> Index:
    """The last position of each run of equal values."""
    return np.flatnonzero(np.diff(groups, append=-1) != 0)


def _scatter(values: Vector, used: Index, of_id: Index, ids: int) -> Vector:
    scattered = np.full(ids, np.nan)
    scattered[of_id] = values[used]
    return scattered


def _label_hash(labels: Labels) -> Hash:
    content = _number_hash(labels.y) + labels.unusable.astype(np.uint64) * _NULL
    for name in sorted(labels.outcome):
        content = _mix(content, _salt(name)) + _number_hash(labels.outcome[name])
    return content


def _content_hash(tables: Sequence[pa.Table], table: Index, row: Index) -> Hash:
    """(rows,) hashes of the content of rows, whatever the order of their columns; a 1 and a 1.0 hash alike."""
    content = np.zeros(len(row), dtype=np.uint64)
    for index in np.unique(table):
        mine = np.flatnonzero(table == index)
        part = tables[int(index)].take(pa.array(row[mine]))
        total = np.zeros(len(mine), dtype=np.uint64)
        for name, values in zip(part.schema.names, part.columns, strict=True):
            if name not in (ID, TIME):
                total += _mix(_value_hash(values), _salt(name))
        content[mine] = total
    return content


def _value_hash(values: pa.ChunkedArray) -> Hash:
    """(rows,) hashes: equal for equal values of the same kind (number, truth, text, or another type), one for null."""
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    kind = values.type
    missing = pc.is_null(values, nan_is_null=True).to_numpy()
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind) or pt.is_null(kind):
        hashes = _number_hash(pc.fill_null(pc.cast(values, pa.float64(), safe=False), np.nan).to_numpy())
    elif pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        hashes = _text_hash(concat_texts([pc.fill_null(pc.cast(values, pa.large_string()), "")]))
    else:
        texts = pa.chunked_array([pa.array([repr(value) for value in values.to_pylist()], pa.large_string())])
        hashes = _mix(_text_hash(concat_texts([texts])), _salt(str(kind)))
    return np.where(missing, _NULL, hashes)


def _number_hash(values: Vector) -> Hash:
    numbers = np.where(np.isnan(values), 0.0, values) + 0.0  # -0.0 becomes 0.0
    return np.where(np.isnan(values), _NULL, _mix(numbers.view(np.uint64), _NULL))


def _text_hash(texts: pa.LargeStringArray) -> Hash:
    return pd.util.hash_array(texts.to_numpy(zero_copy_only=False).astype(object), categorize=False)


def _salt(name: str) -> np.uint64:
    return pd.util.hash_array(np.array([name], dtype=object))[0]


def _mix(values: Hash, salt: np.uint64) -> Hash:
    """splitmix64 (Steele, Lea and Flood 2014), so that a sum of hashes depends on the column of each value."""
    mixed = values + salt + _NULL
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
