"""Shadow versions: each scores a copy of the requests in a thread of its own, in small batches, for evidence only.

No request ever waits for a shadow. The rows that wait for it, and their bytes, are limited; rows beyond that are
dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from optagent.arrays import Prediction
from optagent.ports import Clock
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import EvidenceRecord
from serve_app.data_plane.backlog_room import BacklogRoom
from serve_app.data_plane.metrics import ModelMetrics

_MOST_AT_ONCE = 256
_GATHER_S = 0.01

_log = logging.getLogger("optagent.gateway")


class ShadowRequest(NamedTuple):
    """A request that was answered: its rows as they came, `size` of them, and its arrival in POSIX seconds.

    `memory` is about the bytes that the rows take. `compared` makes the evidence from the scores of the shadow, which
    are None where it failed, and from its time in milliseconds. `alone` is the evidence where the shadow adds nothing,
    None for no evidence at all.
    """

    rows: Any
    size: int
    arrival: float
    compared: Callable[[Prediction | None, float], EvidenceRecord]
    memory: int
    alone: EvidenceRecord | None = None


class Shadow:
    """One version in the shadow. `record_evidence` is called with the evidence of each request, in order."""

    def __init__(
        self,
        model: ServedModel,
        room: BacklogRoom,
        metrics: ModelMetrics,
        clock: Clock,
        record_evidence: Callable[[EvidenceRecord], None],
        budget_ms: float = 100.0,
    ) -> None:
        self._model = model
        self._room = room
        self._metrics = metrics
        self._clock = clock
        self._record_evidence = record_evidence
        self._budget_s = budget_ms / 1000
        self._most_at_once = min(_MOST_AT_ONCE, model.reader.most_rows)
        self._at_once = 1  # until the speed of the version is known
        self._waiting: deque[ShadowRequest] = deque()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="optagent-shadow", daemon=True)
        self._thread.start()

    def offer(self, request: ShadowRequest) -> bool:
        """True where the request is accepted. To be called by the event loop's thread only."""
        if self._closed or not self._room.take(request.size, request.memory):
            self._metrics.shadow_dropped += request.size
            return False
        self._waiting.append(request)
        if not self._wake.is_set():
            self._wake.set()
        return True

    def close(self) -> None:
        """Drops the requests that wait, but for their evidence without a shadow. Does not wait for the thread."""
        self._closed = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Waits for the end of a closed shadow's thread, so long at most."""
        self._thread.join(max(0.0, timeout_s))

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            time.sleep(_GATHER_S)  # gathers a batch, so that this thread does not run once for each request
            self._wake.clear()
            while self._waiting and not self._closed:
                self._finish_batch(self._take_batch())
        self._record_alone(self._waiting)

    def _take_batch(self) -> list[ShadowRequest]:
        batch = [self._waiting.popleft()]
        rows = batch[0].size
        while self._waiting and rows + self._waiting[0].size <= self._at_once:
            batch.append(self._waiting.popleft())
            rows += batch[-1].size
        return batch

    def _finish_batch(self, batch: list[ShadowRequest]) -> None:
        """Scores a batch and makes room again, whatever happens: the thread is not started a second time."""
        try:
            self._score_batch(batch)
        except Exception:
            _log.exception("a shadow goes on without the evidence of %d requests", len(batch))
            self._metrics.shadow_failed += sum(request.size for request in batch)
            self._record_alone(batch)
        finally:
            for request in batch:
                self._room.give_back(request.size, request.memory)

    def _record_alone(self, requests: Iterable[ShadowRequest]) -> None:
        for request in requests:
            if request.alone is not None:
                self._record_evidence(request.alone)

    def _score_batch(self, batch: list[ShadowRequest]) -> None:
        self._metrics.shadow_lag_s = self._clock.now() - batch[0].arrival
        started_at = time.perf_counter()
        try:
            scores = self._read_and_score(batch)
        except Exception:
            scores = None
        took_s = time.perf_counter() - started_at
        self._adapt_batch_size(took_s, scores is None)
        if scores is None and len(batch) > 1:
            for request in batch:  # each alone, so that one that fails does not fail the others
                self._score_batch([request])
        else:
            self._deliver_evidence(batch, scores, took_s)

    def _deliver_evidence(self, batch: list[ShadowRequest], scores: Prediction | None, took_s: float) -> None:
        count = sum(request.size for request in batch)
        self._metrics.shadow_rows += count
        self._metrics.shadow_failed += count if scores is None else 0
        start = 0
        for request in batch:
            request_scores = None if scores is None else scores[start : start + request.size]
            start += request.size
            # A request alone takes no longer than its batch: within the budget, that is all that has to be known.
            share = 1.0 if took_s <= self._budget_s else request.size / count
            self._record_evidence(request.compared(request_scores, took_s * share * 1000))

    def _adapt_batch_size(self, took_s: float, failed: bool) -> None:
        """Keeps batches within half the budget, so that the time of a batch shows that no request took too long."""
        if failed or took_s > self._budget_s / 2:
            self._at_once = max(1, self._at_once // 2)
        else:
            self._at_once = min(self._most_at_once, self._at_once * 2)

    def _read_and_score(self, batch: Sequence[ShadowRequest]) -> Prediction:
        """Scores of a batch; rows that came as objects are read together."""
        model = self._model
        if all(isinstance(request.rows, list) for request in batch):
            rows = [row for request in batch for row in request.rows]
            return model.scores(model.reader.read(rows))
        return model.scores(np.concatenate([model.reader.read(request.rows) for request in batch]))
