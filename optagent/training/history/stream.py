"""History of streamed tables: each row's past is of the rows before the stream and of the stream's earlier rows."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.arrays import Codes, Matrix64, Vector
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.series import history_matrix
from optagent.training.history.state import kept_rows
from optagent.training.history.table import key_texts, numbers_of, with_columns
from optagent.training.row_times import comparable_times

_NO_KEY = ""  # of the one series of all rows
_Series = tuple[Vector, Matrix64]


class StreamedHistory:
    """Adds the columns of a plan to the tables of a stream, one after the other, in memory that its keys need.

    Where a key is in the stream, `earlier` rows of it count that are older than its first ones there, so that a stream
    which repeats them does not count them twice. `late` counts rows that are older than rows of their key in tables
    before: those did not have them in their past.
    """

    def __init__(self, plan: HistoryPlan, earlier: pa.Table) -> None:
        self.late = 0
        self._plan = plan
        self._series: dict[str, _Series] = {}
        keys, time, values = self._read(earlier)
        keyed = np.array([at for at, key in enumerate(keys) if key is not None], dtype=np.int64)
        keys, time, values = keys[keyed], time[keyed], values[keyed]
        names, codes = np.unique(keys, return_inverse=True)
        order = np.lexsort((time, codes))
        edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
        self._earlier = {name: order[edges[at] : edges[at + 1]] for at, name in enumerate(names.tolist())}
        self._earlier_time, self._earlier_values = time, values

    def extend(self, table: pa.Table) -> pa.Table:
        """The table with its history; values that it has in those columns already are kept."""
        if not table.num_rows:
            return with_columns(table, self._plan, np.empty((0, len(self._plan.names))))
        keys, time, values = self._read(table)
        texts = keys.tolist()
        names = dict.fromkeys(name for name in texts if name is not None)
        places = {name: place for place, name in enumerate(names)}
        codes = np.array([-1 if name is None else places[name] for name in texts], dtype=np.int64)
        first = np.full(len(places) + 1, np.inf)
        np.minimum.at(first, codes, time)  # the last place takes the rows without a key
        pasts = [self._past_of(name, first[place]) for name, place in places.items()]
        self._count_late(pasts, codes, time)
        all_codes = np.concatenate([np.repeat(np.arange(len(pasts)), [len(past[0]) for past in pasts]), codes])
        all_time = np.concatenate([*(past[0] for past in pasts), time])
        all_values = np.concatenate([*(past[1] for past in pasts), values])
        matrix = history_matrix(self._plan, all_codes, all_time, all_values)
        self._keep(list(places), all_codes, all_time, all_values)
        return with_columns(table, self._plan, matrix[len(matrix) - table.num_rows :])

    def _read(self, table: pa.Table) -> tuple[npt.NDArray[np.object_], Vector, Matrix64]:
        plan = self._plan
        time = comparable_times(table.column(plan.time), plan.time)
        values = np.column_stack([numbers_of(table.column(name), name) for name in plan.columns])
        if plan.key is None:
            keys = np.full(table.num_rows, _NO_KEY, dtype=np.object_)
        else:
            keys = np.array(key_texts(table.column(plan.key), plan.key).to_pylist(), dtype=np.object_)
        return keys, time, values

    def _past_of(self, name: str, first: float) -> _Series:
        """The past of a key whose next rows begin at the time `first`."""
        if name in self._series:
            return self._series[name]
        rows = self._earlier.pop(name, np.empty(0, dtype=np.int64))
        rows = rows[self._earlier_time[rows] < first][-kept_rows(self._plan) :]
        return self._earlier_time[rows], self._earlier_values[rows]

    def _count_late(self, pasts: list[_Series], codes: Codes, time: Vector) -> None:
        newest = np.array([past[0].max(initial=-np.inf) for past in pasts] + [-np.inf])
        self.late += int((time < newest[codes]).sum())

    def _keep(self, names: list[str], codes: Codes, time: Vector, values: Matrix64) -> None:
        """Keeps the newest rows of each key."""
        order = np.lexsort((*values.T[::-1], time, codes))
        edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
        for at, name in enumerate(names):
            rows = order[edges[at] : edges[at + 1]][-kept_rows(self._plan) :]
            self._series[name] = time[rows], values[rows]
