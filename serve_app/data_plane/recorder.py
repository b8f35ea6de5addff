"""What was answered is recorded from a thread of its own, in batches: requests never wait for it.

At most so many rows wait; what comes on top is dropped and counted.
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
from serve_app.data_plane.metrics import GatewayMetrics

_MOST_AT_ONCE = 5_000
_CLOSE_S = 5.0

_log = logging.getLogger("optagent.gateway")


class _Waiting(NamedTuple):
    """One request's rows. Those of one `group` go into one table."""

    group: Hashable
    model_id: str
    kind: RecordKind
    make: Callable[[list[Any]], pa.Table]
    item: PredictionRecord | EvidenceRecord
    rows: int


class _Batch(NamedTuple):
    """A table that waits for the observations to take it, until `until` on the monotonic clock."""

    model_id: str
    kind: RecordKind
    table: pa.Table
    until: float


class Recorder:
    """Hands over every `every_s` seconds; what the observations cannot take is tried again for `patience_s`."""

    def __init__(
        self,
        observations: Observations,
        figures: GatewayMetrics,
        most_rows: int,
        every_s: float = 0.2,
        patience_s: float = 30.0,
    ) -> None:
        self._observations = observations
        self._figures = figures
        self._most_rows = most_rows
        self._every_s = every_s
        self._patience_s = patience_s
        self._waiting: deque[_Waiting] = deque()
        self._batches: list[_Batch] = []
        self._rows = 0
        self._dropping = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="optagent-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def answered(self, model_id: str, answered: PredictionRecord) -> None:
        """Has a request's predictions recorded; never waits."""
        group = (model_id, id(answered.model))
        self._add(_Waiting(group, model_id, RecordKind.PREDICTIONS, predictions_table, answered, len(answered.ids)))

    def compared(self, model_id: str, outputs: int, compared: EvidenceRecord) -> None:
        """Has a request's evidence recorded; never waits. From any thread."""
        make = partial(evidence_table, outputs=outputs)
        group = (model_id, outputs, "evidence")
        self._add(_Waiting(group, model_id, RecordKind.EVIDENCE, make, compared, len(compared.ids)))

    def close(self) -> None:
        """Hands over what waits, if that takes no longer than a few seconds; the rest is dropped."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _add(self, waiting: _Waiting) -> None:
        with self._lock:
            fits = self._rows + waiting.rows <= self._most_rows
            self._rows += waiting.rows if fits else 0
        if fits:
            self._waiting.append(waiting)
        else:
            self._drop(waiting.rows, "too many wait")

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._hand_over()
        until = time.monotonic() + _CLOSE_S
        self._hand_over()
        while self._batches and time.monotonic() < until:
            time.sleep(min(0.1, self._every_s))
            self._hand_over()
        for batch in self._batches:
            self._end(batch.table.num_rows, Unavailable("the process ends"))
        self._batches = []

    def _hand_over(self) -> None:
        for group in self._taken():
            self._make(group)
        left: list[_Batch] = []
        error: Exception | None = None
        for batch in self._batches:
            if not isinstance(error, Unavailable):  # else the next batch would wait for the same server
                error = self._try(batch)
            if isinstance(error, Busy | Unavailable) and time.monotonic() < batch.until:
                left.append(batch)
            else:
                self._end(batch.table.num_rows, error)
        self._batches = left
        self._figures.record_waiting = self._rows

    def _taken(self) -> Iterable[list[_Waiting]]:
        """What waits, by group, in groups that make no table too large."""
        groups: dict[Hashable, list[_Waiting]] = {}
        sizes: dict[Hashable, int] = {}
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            groups.setdefault(one.group, []).append(one)
            sizes[one.group] = sizes.get(one.group, 0) + one.rows
            if sizes[one.group] >= _MOST_AT_ONCE:
                yield groups.pop(one.group)
                del sizes[one.group]
        yield from groups.values()

    def _make(self, group: list[_Waiting]) -> None:
        first = group[0]
        try:
            table = first.make([one.item for one in group])
        except Exception as error:
            _log.exception("%s of %s cannot be recorded", first.kind, first.model_id)
            self._end(sum(one.rows for one in group), error)
            return
        self._batches.append(_Batch(first.model_id, first.kind, table, time.monotonic() + self._patience_s))

    def _try(self, batch: _Batch) -> Exception | None:
        try:
            self._observations.record(batch.model_id, batch.kind, batch.table)
        except Exception as error:
            return error
        return None

    def _end(self, rows: int, error: Exception | None) -> None:
        """Rows wait no more: they are recorded, or dropped."""
        with self._lock:
            self._rows -= rows
        if error is not None:
            self._drop(rows, error)
            return
        self._figures.recorded += rows
        self._dropping = False

    def _drop(self, rows: int, why: object) -> None:
        with self._lock:
            self._figures.record_dropped += rows
            first, self._dropping = not self._dropping, True
        if first:
            _log.warning("answered rows are not recorded any more: %s", why)
