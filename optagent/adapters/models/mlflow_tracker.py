"""MLflow tracker: writes the history of studies to MLflow in a background thread, for which the search never waits."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from optagent.adapters.models.mlflow_connection import MlflowConnection
from optagent.adapters.models.mlflow_runs import StudyRuns
from optagent.domain.study import Study, Trial
from optagent.errors import Unavailable

_log = logging.getLogger(__name__)

_QUEUE = 10_000
_ATTEMPTS = 3
_RETRY_S = 1.0
_OUTAGE_S = 5.0
_CLOSE_S = 1.0
_FLUSH_S = 2.0
_FIRST_TRIAL_S = 3.0


@dataclass
class _Item:
    study: Study
    write: Callable[[StudyRuns], None]
    done: threading.Event = field(default_factory=threading.Event)
    last: bool = False


class MlflowTracker:
    """`begin` and `trial` only queue their writes. A write that fails is logged once a study, and never raised.

    While the server does not answer, the queue waits for it (at most 10,000 trials; more are dropped and counted).
    `end` waits for `flush_s`, and during an outage for 5 s. Its thread lets the first trial go before, for up to 3 s:
    MLflow takes a second of a core to load, and Python loads in one thread at a time.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | None = None,
        *,
        cache_folder: Path | None = None,
        flush_s: float = 30.0,
    ) -> None:
        self._server = MlflowConnection(tracking_uri, experiment, artifact_root, cache_folder)
        self._runs = StudyRuns(self._server)
        self._flush_s = flush_s
        self._queue: queue.Queue[_Item | None] = queue.Queue(_QUEUE)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._has_trial = threading.Event()
        self._down_since: float | None = None
        self._abandoned: set[str] = set()
        self._warned: set[str] = set()
        self._dropped: dict[str, int] = {}

    def check(self) -> None:
        self._server.check()

    def begin(self, study: Study) -> None:
        at = time.time()
        self._abandoned.discard(study.study_id)
        self._enqueue(_Item(study, lambda runs: runs.begin(study, at)))

    def log_trial(self, study: Study, trial: Trial) -> None:
        at = time.time()
        self._enqueue(_Item(study, lambda runs: runs.trial(study, trial, at)))
        self._has_trial.set()

    def end(
        self,
        study: Study,
        succeeded: bool,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Path | None = None,
    ) -> None:
        at, metrics, tags = time.time(), dict(metrics), dict(tags)
        item = _Item(study, lambda runs: runs.end(study, succeeded, metrics, tags, at, artifacts), last=True)
        deadline = time.monotonic() + self._flush_s
        self._has_trial.set()
        if not self._enqueue(item, deadline) or not self._wait_until_done(item, deadline):
            self._abandoned.add(study.study_id)
            self._warn_once(study, "its last runs are not written")
        if lost := self._dropped.pop(study.study_id, 0):
            _log.warning("MLflow at %s: %d trials of %s are missing", self._server.address, lost, study.study_id)

    def close(self) -> None:
        """Stops the thread; drops what is still in the queue, and does not wait for a call under way."""
        self._stopping.set()
        self._has_trial.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            with suppress(queue.Full):  # the thread sees `_stopping` at its next item
                self._queue.put_nowait(None)
            thread.join(_CLOSE_S)

    def _enqueue(self, item: _Item, deadline: float | None = None) -> bool:
        """True if the item is in the queue; waits for room only until `deadline` (monotonic seconds)."""
        if self._stopping.is_set():
            return False
        self._start()
        try:
            if deadline is None:
                self._queue.put_nowait(item)
            else:
                self._queue.put(item, timeout=max(0.0, deadline - time.monotonic()))
        except queue.Full:
            self._dropped[item.study.study_id] = self._dropped.get(item.study.study_id, 0) + 1
            self._warn_once(item.study, "the queue is full, trials are dropped")
            return False
        return True

    def _wait_until_done(self, item: _Item, deadline: float) -> bool:
        started = time.monotonic()
        while not item.done.wait(0.05):
            now = time.monotonic()
            down = self._down_since
            if now > deadline or (down is not None and now - max(started, down) > _OUTAGE_S):
                return False
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon thread, so that a process which omits `end` or whose server hangs still exits.
                self._thread = threading.Thread(target=self._work, name="mlflow-tracker", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        self._has_trial.wait(_FIRST_TRIAL_S)
        flushed_at = time.monotonic()
        while (item := self._queue.get()) is not None and not self._stopping.is_set():
            self._write(item.study, item.write, item.last)
            now = time.monotonic()
            if not item.last and now - flushed_at > _FLUSH_S:
                self._write(item.study, partial(StudyRuns.flush, study=item.study))
                flushed_at = now
            item.done.set()

    def _write(self, study: Study, write: Callable[[StudyRuns], None], last: bool = False) -> None:
        """Tries until the write succeeds; gives up if a server that answers refuses it three times.

        If `end` no longer waits for a study, its trials are skipped, and the closing of its run is tried once.
        """
        attempts = 0
        while not self._stopping.is_set():
            abandoned = study.study_id in self._abandoned
            if abandoned and not last:
                return
            try:
                write(self._runs)
                self._down_since = None
                return
            except Exception as error:
                self._warn_once(study, str(error))
            attempts += self._answers()
            if abandoned:
                return
            if attempts >= _ATTEMPTS:
                self._dropped[study.study_id] = self._dropped.get(study.study_id, 0) + 1
                return
            self._stopping.wait(_RETRY_S)

    def _answers(self) -> bool:
        try:
            self._server.check()
        except Unavailable:
            self._down_since = self._down_since or time.monotonic()
            return False
        self._down_since = None
        return True

    def _warn_once(self, study: Study, problem: str) -> None:
        if study.study_id not in self._warned:
            self._warned.add(study.study_id)
            _log.warning("MLflow at %s: tracking of %s fails: %s", self._server.address, study.study_id, problem)
