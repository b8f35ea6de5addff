"""In-memory observations: recorded rows in one process."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.state.archive.row_types import (
    checked_name,
    concat_by_types,
    microseconds,
    storable_rows,
    types_of,
)
from optagent.errors import Busy, NotFound
from optagent.ports import RecordKind


@dataclass
class _ModelRows:
    waiting: list[tuple[RecordKind, pa.Table]] = field(default_factory=list)
    archived: list[tuple[RecordKind, pa.Table]] = field(default_factory=list)
    references: dict[str, bytes] = field(default_factory=dict)
    matured: dict[str, pa.Table] = field(default_factory=dict)

    @property
    def backlog(self) -> int:
        return sum(rows.num_rows for _, rows in self.waiting)


class InMemoryObservations:
    """Observations that are lost with their process."""

    def __init__(self, max_backlog: int = 1_000_000) -> None:
        self._max_backlog = max_backlog
        self._models: defaultdict[str, _ModelRows] = defaultdict(_ModelRows)
        self._lock = threading.Lock()

    def check(self) -> None:
        pass

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        rows = storable_rows(rows)
        if not rows.num_rows:
            return
        with self._lock:
            model = self._model(model_id)
            if model.backlog and model.backlog + rows.num_rows > self._max_backlog:
                raise Busy(
                    f"{model_id}: {model.backlog:,} rows wait to be archived, with {rows.num_rows:,} more it would be "
                    f"above {self._max_backlog:,} rows; try again later"
                )
            model.waiting.append((kind, rows))

    def backlog(self, model_id: str) -> int:
        with self._lock:
            return self._model(model_id).backlog

    def drain(self, model_id: str, most: int = 1_000_000) -> int:
        moved = 0
        with self._lock:
            model = self._model(model_id)
            while model.waiting and moved < most:
                model.archived.append(model.waiting.pop(0))
                moved += model.archived[-1][1].num_rows
        return moved

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        return self._rows(model_id, RecordKind.PREDICTIONS, start, end)

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        return self._rows(model_id, RecordKind.LABELS, since, float("inf"))

    def evidence(self, model_id: str, since: float) -> list[pa.Table]:
        return self._rows(model_id, RecordKind.EVIDENCE, since, float("inf"))

    def latest_prediction_time(self, model_id: str) -> float | None:
        with self._lock:
            predictions = [rows for kind, rows in self._model(model_id).archived if kind is RecordKind.PREDICTIONS]
        return max((pc.max(rows["time"].cast(pa.int64())).as_py() / 1e6 for rows in predictions), default=None)

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        with self._lock:
            self._model(model_id).references[checked_name(version, "version")] = reference

    def reference(self, model_id: str, version: str) -> bytes:
        with self._lock:
            references = self._model(model_id).references
            if checked_name(version, "version") not in references:
                raise NotFound(f"{model_id} version {version}: no reference is kept")
            return references[version]

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        with self._lock:
            self._model(model_id).matured[checked_name(day, "day")] = rows

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        with self._lock:
            days = dict(self._model(model_id).matured)
        return [days[day] for day in sorted(days) if day >= since]

    def close(self) -> None:
        pass

    def _rows(self, model_id: str, of: RecordKind, start: float, end: float) -> list[pa.Table]:
        first, stop = microseconds(start), microseconds(end)
        with self._lock:
            archived = list(self._model(model_id).archived)
        tables = []
        for kind, rows in archived:
            if kind is of:
                times = rows["time"].cast(pa.int64())
                within = rows.filter(pc.and_(pc.greater_equal(times, first), pc.less(times, stop)))
                tables.append((types_of(rows), within))
        return concat_by_types(tables)

    def _model(self, model_id: str) -> _ModelRows:
        return self._models[checked_name(model_id, "model_id")]
