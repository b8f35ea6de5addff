"""Redis observations: the `Observations` port over a Redis stream that queues rows and a Parquet archive of them."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from optagent.adapters.state.archive.manifest import ArchivedCall
from optagent.adapters.state.archive.parquet import ParquetArchive
from optagent.adapters.state.archive.row_types import checked_name, storable_rows
from optagent.adapters.state.redis.observation_stream import ObservationStream, StreamEntry
from optagent.errors import InvalidData, Unavailable
from optagent.ports import RecordKind

_log = logging.getLogger(__name__)

_BATCH_ROWS = 200_000
_ERASE_WAIT_S = 60.0
_ERASE_STEP_S = 0.2


class RedisObservations:
    """Observations on the server behind a Redis URL and in a local folder that all its users share.

    Safe to use from several threads and processes. At most `max_backlog` rows of a model wait to be drained. If a
    process that drains does not finish within `claim_after_s`, another takes its entries over; where the first was only
    slow, the archive counts the entries once.
    """

    def __init__(
        self,
        url: str,
        root: Path,
        *,
        prefix: str = "optagent",
        max_backlog: int = 1_000_000,
        claim_after_s: float = 5.0,
    ) -> None:
        self._queue = ObservationStream(url, prefix, most_rows=max_backlog, claim_after_s=claim_after_s)
        self._archive = ParquetArchive(root)
        self._draining: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._swept: set[str] = set()

    def check(self) -> None:
        self._queue.check()
        self._archive.check()

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        checked_name(model_id, "model_id")
        storable = storable_rows(rows)
        if storable.num_rows:
            self._queue.record(model_id, kind, storable)

    def backlog(self, model_id: str) -> int:
        return self._queue.backlog(checked_name(model_id, "model_id"))

    def drain(self, model_id: str, most: int = 1_000_000) -> int:
        """Moves rows to the archive until an entry reaches `most`; an entry, a call or 2 MB of it, is moved whole."""
        moved = 0
        with self._draining[checked_name(model_id, "model_id")]:  # the stream knows our entries by process, not thread
            if model_id not in self._swept:
                self._archive.sweep(model_id)
                self._swept.add(model_id)
            while moved < most:
                batch = self._queue.take(model_id, min(most - moved, _BATCH_ROWS))
                if not batch.entries:
                    break
                calls = [call for entry in batch.entries if (call := self._decode_entry(model_id, entry)) is not None]
                moved += self._archive.append(model_id, calls, batch.oldest)
                self._queue.acknowledge(model_id, batch.entries)
            if moved:
                self._archive.tidy(model_id)
        return moved

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        return self._archive.rows(model_id, RecordKind.PREDICTIONS, start, end)

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        return self._archive.rows(model_id, RecordKind.LABELS, since, float("inf"))

    def evidence(self, model_id: str, since: float) -> list[pa.Table]:
        return self._archive.rows(model_id, RecordKind.EVIDENCE, since, float("inf"))

    def learned_rows(self, model_id: str, since: float) -> list[pa.Table]:
        return self._archive.rows(model_id, RecordKind.LEARNED, since, float("inf"))

    def latest_prediction_time(self, model_id: str) -> float | None:
        return self._archive.latest_prediction_time(model_id, RecordKind.PREDICTIONS)

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        self._archive.save_reference(model_id, version, reference)

    def reference(self, model_id: str, version: str) -> bytes:
        return self._archive.reference(model_id, version)

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        self._archive.save_matured(model_id, day, rows)

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        return self._archive.matured(model_id, since)

    def prune(
        self, model_id: str, before: float, training_before: float | None = None, dry_run: bool = False
    ) -> Mapping[str, int]:
        counts = self._archive.prune(model_id, before, dry_run)
        if training_before is not None:
            day = datetime.fromtimestamp(training_before, UTC).strftime("%Y-%m-%d")
            counts["matured"] = self._archive.prune_matured(model_id, day, dry_run)
        return +counts

    def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        self._archive_waiting(checked_name(model_id, "model_id"))
        return self._archive.erase(model_id, ids)

    def drop_reference(self, model_id: str, version: str) -> None:
        self._archive.drop_reference(model_id, version)

    def close(self) -> None:
        self._queue.close()

    def _archive_waiting(self, model_id: str) -> None:
        """Archives every row that waits now, and has the server forget them on disk, too.

        Rows that another process has taken are archived by it, or by us once it counts as lost.
        """
        last, give_up = self._queue.newest_entry(model_id), time.monotonic() + _ERASE_WAIT_S
        while last is not None:
            self.drain(model_id)
            if not self._queue.has_entries_until(model_id, last):
                self._queue.rewrite_history()
                return
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"{model_id}: rows wait that another process has taken and not archived for {_ERASE_WAIT_S:g} s: "
                    "nothing was erased, try again"
                )
            time.sleep(_ERASE_STEP_S)

    def _decode_entry(self, model_id: str, entry: StreamEntry) -> ArchivedCall | None:
        """The call in an entry; None for one that cannot be read, which is set aside so that it blocks nothing."""
        try:
            return ArchivedCall(entry.epoch, entry.entry_id, RecordKind(entry.kind), storable_rows(entry.table()))
        except (pa.ArrowException, OSError, EOFError, ValueError, InvalidData) as error:
            path = self._archive.set_aside(model_id, f"{entry.entry_id}.arrow", entry.data)
            _log.error(
                "%s: entry %s of the queue is no rows and was moved to %s: %s", model_id, entry.entry_id, path, error
            )
            return None
