"""Past of one series, as it is kept for served rows: its newest rows by time, which give what a table's rows give."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optagent.arrays import Matrix64, Vector
from optagent.training.history.plan import HistoryPlan

_LEAST_LATE = 16


class PastRow(NamedTuple):
    """A row that was answered: its time, and the numbers of the plan's columns, None where they are missing."""

    time: float
    values: tuple[float | None, ...]
    row_id: str


class Past(NamedTuple):
    """The rows before a time, the newest first: their times, and (rows, columns of the plan) numbers.

    It is not `whole` where older ones were there and are not kept.
    """

    time: Vector
    values: Matrix64
    whole: bool = True


def kept_rows(plan: HistoryPlan) -> int:
    """The rows of a series that are kept: twice those that the plan needs, so that a row that comes late finds all of
    its past where no more rows than that were sooner, or 16."""
    return plan.depth + max(plan.depth, _LEAST_LATE)


def no_past(plan: HistoryPlan) -> Past:
    """The past of the first row of a series."""
    return Past(np.empty(0), np.empty((0, len(plan.columns))))


class SeriesState:
    """The newest rows of one series in the order of time; a row that comes late is put at its place.

    Rows of one time are in the order of their values, missing ones last, whatever the order in which they came.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._rows: list[PastRow] = []
        self._ids: set[str] = set()
        self._forgot = False

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: PastRow) -> None:
        """Adds a row, unless one of its id is there; the oldest one goes where there are too many."""
        if row.row_id in self._ids:
            return
        insort(self._rows, row, key=sort_key)
        self._ids.add(row.row_id)
        if len(self._rows) > self._keep:
            self._ids.remove(self._rows.pop(0).row_id)
            self._forgot = True

    def before(self, time: float, plan: HistoryPlan) -> Past:
        """The newest rows with an earlier time, as many as the plan needs."""
        end = bisect_left(self._rows, time, key=lambda row: row.time)
        start = max(0, end - plan.depth)
        rows = self._rows[start:end][::-1]
        values = np.array([row.values for row in rows], dtype=np.float64).reshape(len(rows), len(plan.columns))
        return Past(np.array([row.time for row in rows]), values, whole=start > 0 or not self._forgot)


def past_row(time: float, numbers: Sequence[float], row_id: str) -> PastRow:
    """A row of the past; numbers that are not finite are missing, and zeros have no sign."""
    finite = (float(number) if np.isfinite(number) else None for number in numbers)
    return PastRow(time, tuple(None if number is None else number + 0.0 for number in finite), row_id)


def sort_key(row: PastRow) -> tuple[float, tuple[tuple[bool, float], ...]]:
    """The place of a row in its series."""
    return row.time, tuple((value is None, value or 0.0) for value in row.values)


def served_history(plan: HistoryPlan, past: Past, time: float) -> Vector:
    """(names of the plan,) the history of a row at `time`, bit for bit as `history_matrix` has it.

    A lag or a window that reaches beyond the rows that are kept is missing: less than the whole is no mean of it.
    """
    out = np.full(len(plan.names), np.nan)
    values, width = past.values[: plan.depth], len(plan.lags) + len(plan.rolling)
    count = len(values)
    if not count:
        return out
    for place, lag in enumerate(plan.lags):
        if lag <= count:
            out[place:-1:width] = values[lag - 1]
    if plan.rolling:
        present = ~np.isnan(values)
        sums = np.add.accumulate(np.where(present, values, 0.0), axis=0)  # one after the other, as the table's
        counts = np.add.accumulate(present, axis=0, dtype=np.int64)
    for place, window in enumerate(plan.rolling, len(plan.lags)):
        if window <= count or past.whole:
            last = min(window, count) - 1
            known = counts[last] > 0
            out[place:-1:width][known] = sums[last][known] / counts[last][known]
    out[-1] = time - past.time[0]
    return out
