"""In-memory observations: recorded rows in one process."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import compress

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

_EARLY_LABELS_S = 86_400.0


@dataclass
class _ModelRows:
    waiting: list[tuple[RecordKind, pa.Table]] = field(default_factory=list)
    archived: list[tuple[RecordKind, pa.Table]] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)  # POSIX seconds, of the archived calls and of those that wait
    references: dict[str, bytes] = field(default_factory=dict)
    matured: dict[str, pa.Table] = field(default_factory=dict)

    @property
    def backlog(self) -> int:
        return sum(rows.num_rows for _, rows in self.waiting)

    def keep_calls(self, stays: Sequence[bool], archived: Sequence[tuple[RecordKind, pa.Table]]) -> None:
        """Replaces the archived calls by those of `archived` that stay."""
        self.came_at = [*compress(self.came_at, stays), *self.came_at[len(stays) :]]
        self.archived = list(compress(archived, stays))


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
            model.came_at.append(time.time())

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

    def learned_rows(self, model_id: str, since: float) -> list[pa.Table]:
        return self._rows(model_id, RecordKind.LEARNED, since, float("inf"))

    def latest_prediction_time(self, model_id: str) -> float | None:
        with self._lock:
            predictions = [rows for kind, rows in self._model(model_id).archived if kind is RecordKind.PREDICTIONS]
        times = (pc.max(rows["time"].cast(pa.int64())).as_py() / 1e6 for rows in predictions if rows.num_rows)
        return max(times, default=None)

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

    def prune(
        self, model_id: str, before: float, training_before: float | None = None, dry_run: bool = False
    ) -> Mapping[str, int]:
        counts, day = Counter[str](), "" if training_before is None else _day_name(training_before)
        with self._lock:
            model = self._model(model_id)
            stays = [
                at >= (before - _EARLY_LABELS_S if kind is RecordKind.LABELS else before)
                for (kind, _), at in zip(model.archived, model.came_at, strict=False)
            ]
            for (kind, rows), stay in zip(model.archived, stays, strict=True):
                counts[kind] += 0 if stay else rows.num_rows
            for name in [name for name in model.matured if name < day]:
                counts["matured"] += model.matured[name].num_rows
                if not dry_run:
                    del model.matured[name]
            if not dry_run:
                model.keep_calls(stays, model.archived)
        return +counts

    def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        self.drain(model_id)
        texts, counts = pa.array(ids, pa.large_string()), Counter[str]()

        def rest(kind: str, rows: pa.Table) -> pa.Table:
            stays = rows.filter(pc.invert(pc.is_in(rows["id"].cast(texts.type), value_set=texts)))
            counts[kind] += rows.num_rows - stays.num_rows
            return stays

        with self._lock:
            model = self._model(model_id)
            after = [(kind, rest(kind, rows)) for kind, rows in model.archived]
            model.keep_calls([rows.num_rows > 0 for _, rows in after], after)
            model.matured = {
                day: rest("matured", rows) if "id" in rows.schema.names else rows for day, rows in model.matured.items()
            }
        return +counts

    def drop_reference(self, model_id: str, version: str) -> None:
        with self._lock:
            self._model(model_id).references.pop(checked_name(version, "version"), None)

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


def _day_name(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d")
