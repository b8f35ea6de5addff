"""Seed rows: the newest rows of each series of a table, as they are kept for served rows."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import PastRow, kept_rows, past_row
from optagent.training.history.table import key_texts, numbers_of
from optagent.training.row_times import comparable_times

_AT_ONCE = 5_000
_ONE_SERIES = ""


def seed_rows(plan: HistoryPlan, table: pa.Table) -> Iterator[list[tuple[str, PastRow]]]:
    """The rows that are kept, with their series, some thousand at once; the oldest first.

    Their ids are of their time and of their place among the rows of that time, so that rows that are kept twice count
    once. Rows without a key are left out.
    """
    time = comparable_times(table.column(plan.time), plan.time)
    values = np.column_stack([numbers_of(table.column(name), name) for name in plan.columns])
    names: list[str | None] = [_ONE_SERIES] * table.num_rows
    if plan.key is not None:
        names = key_texts(table.column(plan.key), plan.key).to_pylist()
    places = {name: place for place, name in enumerate(dict.fromkeys(names)) if name is not None}
    codes = np.array([-1 if name is None else places[name] for name in names], dtype=np.int64)
    order = np.lexsort((*values.T[::-1], time, codes))
    ends = np.searchsorted(codes[order], codes[order], side="right")
    newest = order[(ends - np.arange(len(order)) <= kept_rows(plan)) & (codes[order] >= 0)]
    same = np.zeros(len(newest), dtype=np.int64)
    same[1:] = (codes[newest[1:]] == codes[newest[:-1]]) & (time[newest[1:]] == time[newest[:-1]])
    starts = np.maximum.accumulate(np.where(same == 0, np.arange(len(newest)), 0))
    rank = np.arange(len(newest)) - starts
    by_time = np.argsort(time[newest], kind="stable")
    for start in range(0, len(newest), _AT_ONCE):
        part = by_time[start : start + _AT_ONCE]
        yield [
            (names[row] or _ONE_SERIES, past_row(float(time[row]), values[row].tolist(), f"data:{time[row]}:{place}"))
            for row, place in zip(newest[part].tolist(), rank[part].tolist(), strict=True)
        ]
