"""Versions that are asked as well, and whose answers nobody gets: in a thread each, in small batches.

Whatever a shadow does, no request waits for it. At most so many rows wait; what comes on top is dropped and counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from optagent.arrays import Prediction
from optagent.ports import Clock
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import EvidenceRecord
from serve_app.data_plane.metrics import ModelMetrics

_MOST_AT_ONCE = 256
_GATHER_S = 0.01


class ShadowRequest(NamedTuple):
    """A request that was answered: its rows as they came, `size` of them, and its arrival in POSIX seconds.

    `compared` makes its evidence of the shadow's scores, None where it failed, and the milliseconds that it took.
    """

    rows: Any
    size: int
    arrival: float
    compared: Callable[[Prediction | None, float], EvidenceRecord]


class Shadow:
    """One version in the shadow. `tell` takes the evidence of each request, in their order."""

    def __init__(
        self,
        model: ServedModel,
        most_rows: int,
        figures: ModelMetrics,
        clock: Clock,
        tell: Callable[[EvidenceRecord], None],
        budget_ms: float = 100.0,
    ) -> None:
        self._model = model
        self._most_rows = most_rows
        self._figures = figures
        self._clock = clock
        self._tell = tell
        self._budget_s = budget_ms / 1000
        self._most_at_once = min(_MOST_AT_ONCE, model.reader.most_rows)
        self._at_once = 1  # until it is known how quick the version is
        self._waiting: deque[ShadowRequest] = deque()
        self._offered = self._taken = 0  # rows; each is written by one thread only
        self._more = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="optagent-shadow", daemon=True)
        self._thread.start()

    def offer(self, asked: ShadowRequest) -> bool:
        """Whether the request is taken on; by the event loop's thread only."""
        if self._offered - self._taken + asked.size > self._most_rows:
            self._figures.shadow_dropped += asked.size
            return False
        self._offered += asked.size
        self._waiting.append(asked)
        if not self._more.is_set():
            self._more.set()
        return True

    def close(self) -> None:
        """What waits is not asked any more. Does not wait for the thread."""
        self._closed = True
        self._more.set()

    def _run(self) -> None:
        while True:
            self._more.wait()
            if self._closed:
                return
            time.sleep(_GATHER_S)  # a batch of what came meanwhile, instead of a turn of this thread for each request
            self._more.clear()
            while self._waiting and not self._closed:
                self._ask(self._batch())

    def _batch(self) -> list[ShadowRequest]:
        batch = [self._waiting.popleft()]
        rows = batch[0].size
        while self._waiting and rows + self._waiting[0].size <= self._at_once:
            batch.append(self._waiting.popleft())
            rows += batch[-1].size
        return batch

    def _ask(self, batch: list[ShadowRequest]) -> None:
        self._figures.shadow_lag_s = self._clock.now() - batch[0].arrival
        started_at = time.perf_counter()
        try:
            scores = self._scores(batch)
        except Exception:
            scores = None
        took_s = time.perf_counter() - started_at
        self._adapt(took_s, scores is None)
        if scores is None and len(batch) > 1:
            for asked in batch:  # each alone, so that one does not fail the others
                self._ask([asked])
        else:
            self._told(batch, scores, took_s)

    def _told(self, batch: list[ShadowRequest], scores: Prediction | None, took_s: float) -> None:
        count = sum(asked.size for asked in batch)
        self._taken += count
        self._figures.shadow_rows += count
        self._figures.shadow_failed += count if scores is None else 0
        start = 0
        for asked in batch:
            own = None if scores is None else scores[start : start + asked.size]
            start += asked.size
            # That a request alone takes no longer than its batch is all that is known, and enough within the budget.
            share = 1.0 if took_s <= self._budget_s else asked.size / count
            self._tell(asked.compared(own, took_s * share * 1000))

    def _adapt(self, took_s: float, failed: bool) -> None:
        """Batches as large as half the budget allows: then the time of a batch says that no request took too long."""
        if failed or took_s > self._budget_s / 2:
            self._at_once = max(1, self._at_once // 2)
        else:
            self._at_once = min(self._most_at_once, self._at_once * 2)

    def _scores(self, batch: Sequence[ShadowRequest]) -> Prediction:
        """Rows that came as objects are read together."""
        model = self._model
        if all(isinstance(asked.rows, list) for asked in batch):
            rows = [row for asked in batch for row in asked.rows]
            return model.scores(model.reader.read(rows))
        return model.scores(np.concatenate([model.reader.read(asked.rows) for asked in batch]))
