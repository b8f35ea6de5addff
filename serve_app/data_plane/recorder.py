"""Recorder: predictions and evidence are recorded in batches by a thread of its own, so that no request waits for it.

The rows that wait, and their bytes, are limited; rows beyond that are dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from optagent.errors import Busy, Unavailable
from optagent.ports import Observations, RecordKind
from optagent.serving.evidence_record import EvidenceRecord, evidence_table
from optagent.serving.prediction_record import PredictionRecord, predictions_table
from serve_app.data_plane.backlog_room import BacklogRoom
from serve_app.data_plane.metrics import GatewayMetrics

_MOST_AT_ONCE = 5_000
_MOST_BYTES_AT_ONCE = 16_000_000
_CLOSE_S = 5.0
_EVIDENCE_ROW_BYTES = 200  # of memory: an id and some numbers

_log = logging.getLogger("optagent.gateway")


class _Waiting(NamedTuple):
    """The rows of one request. Those of one `group` go into one table."""

    group: Hashable
    model_id: str
    kind: RecordKind
    make: Callable[[list[Any]], pa.Table]
    item: PredictionRecord | EvidenceRecord
    rows: int
    memory: int


class _Batch(NamedTuple):
    """A table that is offered to the observations until `until` on the monotonic clock."""

    model_id: str
    kind: RecordKind
    table: pa.Table
    until: float
    memory: int


class Recorder:
    """Hands rows over every `every_s` seconds; a table that is not taken is offered again for `patience_s`."""

    def __init__(
        self,
        observations: Observations,
        metrics: GatewayMetrics,
        most_rows: int,
        most_bytes: int = 128_000_000,
        every_s: float = 0.2,
        patience_s: float = 30.0,
    ) -> None:
        self._observations = observations
        self._metrics = metrics
        self._room = BacklogRoom(most_rows, most_bytes)
        self._every_s = every_s
        self._patience_s = patience_s
        self._waiting: deque[_Waiting] = deque()
        self._batches: list[_Batch] = []
        self._dropping = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="optagent-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def record_predictions(self, model_id: str, record: PredictionRecord, memory: int) -> None:
        """Queues the predictions of a request, which take about `memory` bytes; never waits."""
        layout = None if record.mixture is None else record.mixture.layout
        group = (model_id, id(record.model), layout)
        self._add(_Waiting(group, model_id, RecordKind.PREDICTIONS, predictions_table, record, len(record.ids), memory))

    def record_evidence(self, model_id: str, outputs: int, record: EvidenceRecord) -> None:
        """Queues the evidence of a request; never waits. May be called from any thread."""
        make = partial(evidence_table, outputs=outputs)
        group = (model_id, outputs, "evidence")
        rows = len(record.ids)
        self._add(_Waiting(group, model_id, RecordKind.EVIDENCE, make, record, rows, _EVIDENCE_ROW_BYTES * rows))

    def close(self) -> None:
        """Hands over the rows that wait, if that takes no longer than a few seconds; the rest is dropped."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _add(self, waiting: _Waiting) -> None:
        if self._room.take(waiting.rows, waiting.memory):
            self._waiting.append(waiting)
        else:
            self._count_dropped(waiting.rows, "too many wait")

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._hand_over()
        until = time.monotonic() + _CLOSE_S
        self._hand_over()
        while self._batches and time.monotonic() < until:
            time.sleep(min(0.1, self._every_s))
            self._hand_over()
        for batch in self._batches:
            self._finish_rows(batch.table.num_rows, batch.memory, Unavailable("the process ends"))
        self._batches = []

    def _hand_over(self) -> None:
        for group in self._take_groups():
            self._make_batch(group)
        remaining: list[_Batch] = []
        error: Exception | None = None
        for batch in self._batches:
            if not isinstance(error, Unavailable):  # or else the next batch would wait for the same server
                error = self._record_batch(batch)
            if isinstance(error, Busy | Unavailable) and time.monotonic() < batch.until:
                remaining.append(batch)
            else:
                self._finish_rows(batch.table.num_rows, batch.memory, error)
        self._batches = remaining
        self._metrics.record_waiting = self._room.rows

    def _take_groups(self) -> Iterable[list[_Waiting]]:
        """The requests that wait, by group, with a group split before its table is too large."""
        groups: dict[Hashable, list[_Waiting]] = {}
        sizes: dict[Hashable, tuple[int, int]] = {}
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            groups.setdefault(waiting.group, []).append(waiting)
            rows, memory = sizes.get(waiting.group, (0, 0))
            rows, memory = sizes[waiting.group] = rows + waiting.rows, memory + waiting.memory
            if rows >= _MOST_AT_ONCE or memory >= _MOST_BYTES_AT_ONCE:
                yield groups.pop(waiting.group)
                del sizes[waiting.group]
        yield from groups.values()

    def _make_batch(self, group: list[_Waiting]) -> None:
        first, memory = group[0], sum(waiting.memory for waiting in group)
        try:
            table = first.make([waiting.item for waiting in group])
        except Exception as error:
            _log.exception("%s of %s cannot be recorded", first.kind, first.model_id)
            self._finish_rows(sum(waiting.rows for waiting in group), memory, error)
            return
        self._batches.append(_Batch(first.model_id, first.kind, table, time.monotonic() + self._patience_s, memory))

    def _record_batch(self, batch: _Batch) -> Exception | None:
        try:
            self._observations.record(batch.model_id, batch.kind, batch.table)
        except Exception as error:
            return error
        return None

    def _finish_rows(self, rows: int, memory: int, error: Exception | None) -> None:
        """Ends the wait of rows, which are recorded, or dropped with an error."""
        self._room.give_back(rows, memory)
        if error is not None:
            self._count_dropped(rows, error)
            return
        self._metrics.recorded += rows
        self._dropping = False

    def _count_dropped(self, rows: int, reason: object) -> None:
        with self._lock:
            self._metrics.record_dropped += rows
            first, self._dropping = not self._dropping, True
        if first:
            _log.warning("answered rows are not recorded any more: %s", reason)
