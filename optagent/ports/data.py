"""Data ports: data sources, recorded observations of models, and the clock."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.domain.dataset import DataSource, FileSource


class Clock(Protocol):
    """The source of the current time."""

    def now(self) -> float:
        """The current time in POSIX seconds."""
        ...


class Datasets(Protocol):
    """Reads the rows of data sources."""

    def read(self, source: DataSource, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of `source`, with all columns or the given ones.

        Raises InvalidData (no such file or column, a file of another format than its name says, duplicate columns, more
        rows than the limit) or Unavailable (a database or object store that does not answer).
        """
        ...

    def open(self, source: FileSource) -> "OpenRows":
        """Files of which a part is to be read; raises as `read` does."""
        ...


class OpenRows(Protocol):
    """A file of rows that is read in parts; `where` names it in messages."""

    where: str
    schema: pa.Schema

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows with these columns, in that order; raises InvalidData for more rows or bytes than the limits."""
        ...

    def take(self, places: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows at these places, in that order, with these columns."""
        ...


class RecordKind(StrEnum):
    """The kinds of recorded rows of a model.

    A rollout is judged by its evidence; the learned rows are those from which a mixture has learned its weights.
    """

    PREDICTIONS = "predictions"
    LABELS = "labels"
    EVIDENCE = "evidence"
    LEARNED = "learned"


class Observations(Protocol):
    """Keeps the predictions of models and their labels exactly as recorded, including duplicates and late rows.

    Rows are tables with at least `id` (text) and `time` (UTC timestamp of microseconds); the types of other columns may
    differ from one call to the next. Recorded rows wait in a queue until `drain` moves them into the archive, which the
    other verbs read.
    """

    def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the queue or the archive cannot be reached."""
        ...

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        """Records rows; once the call has returned, they survive a crash of any process.

        Raises Unavailable, and Busy where too many rows wait to be drained.
        """
        ...

    def backlog(self, model_id: str) -> int:
        """The number of rows that wait to be drained."""
        ...

    def drain(self, model_id: str, most: int = 1_000_000) -> int:
        """Moves rows from the queue into the archive, and returns their number; several processes may do so at once.

        The rows of each `record` call end in the archive exactly once, even if a process is killed.
        """
        ...

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        """The archived predictions with `start` <= time < `end` (POSIX seconds), a table for each set of types."""
        ...

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        """The archived labels with `since` <= time."""
        ...

    def evidence(self, model_id: str, since: float) -> list[pa.Table]:
        """The archived rows of rollouts with `since` <= time, a table for each set of types."""
        ...

    def learned_rows(self, model_id: str, since: float) -> list[pa.Table]:
        """The archived rows that a mixture has learned with `since` <= time, a table for each set of types."""
        ...

    def latest_prediction_time(self, model_id: str) -> float | None:
        """The latest time of an archived prediction in POSIX seconds; None without any."""
        ...

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        """Stores the reference that a version is compared with; replaces an older one."""
        ...

    def reference(self, model_id: str, version: str) -> bytes:
        """The stored reference of a version; raises NotFound."""
        ...

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        """Stores the matured training rows of a day (YYYY-MM-DD); replaces those of the same day."""
        ...

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        """The matured training rows, one table per day, from the day `since` on, in order."""
        ...

    def prune(
        self, model_id: str, before: float, training_before: float | None = None, dry_run: bool = False
    ) -> Mapping[str, int]:
        """Drops the archived rows that were recorded before that time (POSIX seconds), and the matured training rows of
        the days before `training_before`; returns their number by kind (`predictions`, `labels`, `evidence`,
        `learned`, `matured`).

        Rows that were archived together go together, once the newest is older: up to a month later. A label stays a day
        longer, for a prediction that came after it. With `dry_run` nothing is dropped.
        """
        ...

    def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        """Removes all rows of these ids, waiting or archived, and returns their number by kind, as `prune`.

        Others may record meanwhile; rows of these ids that come later stay. A call that was interrupted is repeated.
        Raises Unavailable where another process holds waiting rows and does not archive them.
        """
        ...

    def drop_reference(self, model_id: str, version: str) -> None:
        """Deletes the reference of a version, if there is one."""
        ...

    def close(self) -> None: ...
