"""Where rows come from, what is observed of models, and time."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from optagent.domain.dataset import DataSource


class Clock(Protocol):
    """Time, as an argument."""

    def now(self) -> float:
        """POSIX seconds."""
        ...


class Datasets(Protocol):
    """Reads rows."""

    def read(self, source: DataSource, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of `source`, all columns or those named.

        Raises InvalidData (no such file or column, not what its name says, duplicate columns, more rows than the limit)
        or Unavailable (a database or object store that does not answer).
        """
        ...


class RecordKind(StrEnum):
    """The kinds of rows that are recorded of a model; evidence is what a rollout is judged by."""

    PREDICTIONS = "predictions"
    LABELS = "labels"
    EVIDENCE = "evidence"


class Observations(Protocol):
    """Keeps what models predicted and what came true, as it was told: duplicates, late rows and all.

    Rows are tables with at least `id` (text) and `time` (UTC timestamp of microseconds); other columns may be of other
    types from one call to the next. Recorded rows wait in a queue until `drain` moves them into the archive, which is
    what the other verbs read.
    """

    def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the queue or the archive cannot be reached."""
        ...

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        """Takes rows in; what was acknowledged survives a crash of any process.

        Raises Unavailable, and Busy where too many rows wait to be drained.
        """
        ...

    def backlog(self, model_id: str) -> int:
        """How many rows wait to be drained."""
        ...

    def drain(self, model_id: str, most: int = 1_000_000) -> int:
        """Moves rows from the queue into the archive, and answers how many; several processes may do so at once.

        Each recorded call ends in the archive exactly once, wherever a process is killed.
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

    def newest(self, model_id: str) -> float | None:
        """The latest time of an archived prediction in POSIX seconds, None without any."""
        ...

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        """Keeps what a version is compared with; replaces what was kept."""
        ...

    def reference(self, model_id: str, version: str) -> bytes:
        """Raises NotFound."""
        ...

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        """Keeps rows to learn from of a day (YYYY-MM-DD); replaces those that were kept."""
        ...

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        """The rows to learn from of each day, from `since` on, in order."""
        ...

    def close(self) -> None: ...
