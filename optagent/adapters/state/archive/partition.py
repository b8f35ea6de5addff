"""Archive partition: the rows of a commit in groups by kind, day and types, as few as a bound says.

Labels belong to the day on which they came, other rows to the day of their `time`. A commit that reaches further writes
the days with the most rows apart, and the rest into files of `MIXED` days; rows of rare types share one `PACKED` file.
So neither the times nor the columns that a client sends decide how many files there are.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.adapters.state.archive.manifest import ArchivedCall
from optagent.adapters.state.archive.row_types import align_columns, days_of, name_of_day, types_of
from optagent.ports import RecordKind

MIXED = "mixed"
"""The day of a file whose rows are of any days, in the order of their times."""

PACKED = "packed"
"""The types of a file whose rows are of any types."""

_MOST_FILES = 64  # of a kind and commit, for days with rows of their own: two months of a history that is uploaded
_MOST_TYPES = 8  # that get a file for the rest of their days: a model has one or two, and one more after each change
_DAY_MS = 86_400_000

FileGroup = tuple[str, str, str]
"""Kind, day and types of a file."""


@dataclass(frozen=True, slots=True)
class _TypedRows:
    """Rows of equal types, and the number of the day of each row since 1970."""

    types: str
    rows: pa.Table
    days: npt.NDArray[np.int64]


def group_rows(calls: Sequence[ArchivedCall]) -> dict[FileGroup, list[pa.Table]]:
    """The rows of calls by the file that each belongs into, in the form that `write_files` takes."""
    groups: dict[FileGroup, list[pa.Table]] = {}
    for kind in dict.fromkeys(call.kind for call in calls):
        by_types: dict[str, list[ArchivedCall]] = {}
        for call in calls:
            if call.kind is kind:
                by_types.setdefault(types_of(call.rows), []).append(call)
        groups |= _partition(kind, [_typed_rows(kind, types, same) for types, same in by_types.items()])
    return groups


def pack_rare_types(tables: Mapping[str, list[pa.Table]]) -> dict[str, list[pa.Table]]:
    """The tables by types, of which those eight with the most rows stay apart and the others are packed together."""
    plain = {types: same for types, same in tables.items() if types != PACKED}
    common = heapq.nlargest(_MOST_TYPES, plain, key=lambda types: sum(rows.num_rows for rows in plain[types]))
    packed = [rows for types, same in tables.items() if types not in common for rows in same]
    groups = {types: plain[types] for types in common}
    return {**groups, PACKED: packed} if packed else groups


def _typed_rows(kind: RecordKind, types: str, calls: Sequence[ArchivedCall]) -> _TypedRows:
    rows = pa.concat_tables(align_columns([call.rows for call in calls]))
    if kind is not RecordKind.LABELS:
        return _TypedRows(types, rows, days_of(rows))
    came = [int(call.entry_id.split("-")[0]) // _DAY_MS for call in calls]
    return _TypedRows(types, rows, np.repeat(came, [call.rows.num_rows for call in calls]).astype(np.int64))


def _partition(kind: RecordKind, parts: Sequence[_TypedRows]) -> dict[FileGroup, list[pa.Table]]:
    counts: list[tuple[int, int, str]] = []
    for part in parts:
        days, rows = np.unique(part.days, return_counts=True)
        counts += [(count, day, part.types) for count, day in zip(rows.tolist(), days.tolist(), strict=True)]
    own = {(types, day) for _, day, types in heapq.nlargest(_MOST_FILES, counts)}
    groups: dict[FileGroup, list[pa.Table]] = {}
    rest: dict[str, list[pa.Table]] = {}
    for part in parts:
        own_days = sorted(day for types, day in own if types == part.types)
        if own_days == np.unique(part.days).tolist() and len(own_days) == 1:
            groups[kind, name_of_day(own_days[0]), part.types] = [part.rows]
            continue
        for day in own_days:
            groups[kind, name_of_day(day), part.types] = [part.rows.filter(pa.array(part.days == day))]
        others = part.rows.filter(pa.array(~np.isin(part.days, own_days)))
        if others.num_rows:
            rest[part.types] = [others]
    for types, tables in pack_rare_types(rest).items():
        groups[kind, MIXED, types] = tables
    return groups
