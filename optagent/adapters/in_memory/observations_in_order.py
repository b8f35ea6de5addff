"""In-memory observations by time: batches with known time spans, since a replay reads a long history very often."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.state.archive.row_types import concat_by_types, microseconds, types_of
from optagent.ports import RecordKind


class ObservationsInOrder(InMemoryObservations):
    """Keeps the first and the last time of each batch, so that only batches at an edge are filtered."""

    def __init__(self, max_backlog: int = 1_000_000) -> None:
        super().__init__(max_backlog)
        self._spans: dict[str, list[tuple[RecordKind, str, pa.Table, int, int]]] = {}

    def latest_prediction_time(self, model_id: str) -> float | None:
        ends = (end for kind, _, _, _, end in self._batches(model_id) if kind is RecordKind.PREDICTIONS)
        return max((end / 1e6 for end in ends), default=None)

    def prune(
        self, model_id: str, before: float, training_before: float | None = None, dry_run: bool = False
    ) -> Mapping[str, int]:
        counts = super().prune(model_id, before, training_before, dry_run)
        self._spans.pop(model_id, None)
        return counts

    def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        counts = super().erase(model_id, ids)
        self._spans.pop(model_id, None)
        return counts

    def _rows(self, model_id: str, of: RecordKind, start: float, end: float) -> list[pa.Table]:
        first, stop = microseconds(start), microseconds(end)
        tables = []
        for kind, types, rows, begins, ends in self._batches(model_id):
            if kind is not of or ends < first or begins >= stop:
                continue
            if begins < first or ends >= stop:
                times = rows["time"].cast(pa.int64())
                rows = rows.filter(pc.and_(pc.greater_equal(times, first), pc.less(times, stop)))
            tables.append((types, rows))
        return concat_by_types(tables)

    def _batches(self, model_id: str) -> list[tuple[RecordKind, str, pa.Table, int, int]]:
        with self._lock:
            spans = self._spans.setdefault(model_id, [])
            for kind, rows in self._model(model_id).archived[len(spans) :]:
                span = pc.min_max(rows["time"].cast(pa.int64())).as_py()
                spans.append((kind, types_of(rows), rows, span["min"], span["max"]))
            return list(spans)
