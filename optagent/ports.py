"""What the loop needs from outside. Each port has an in-memory adapter and a real one, held to one contract suite."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from optagent.domain.alert import Alert
from optagent.domain.dataset import DataSource
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import MonitorState
from optagent.domain.process import Process
from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.domain.version import ModelVersion
from optagent.training.encoding import Schema
from optagent.training.imported import Imported
from optagent.training.problem import Problem

OnProgress = Callable[[Progress], None]
OnTrial = Callable[[Trial], None]


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


class Store(Protocol):
    """Keeps models and processes. What it acknowledged survives a crash of any process, the store's own included."""

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the store does not answer."""
        ...

    async def close(self) -> None: ...

    async def save_model(self, spec: ModelSpec) -> None: ...

    async def model(self, model_id: str) -> ModelSpec:
        """Raises ModelNotFound."""
        ...

    async def models(self) -> list[ModelSpec]:
        """All models, by id."""
        ...

    async def create_process(self, process: Process, lease_s: float) -> None:
        """Stores a new process held by the caller for `lease_s`; raises Conflict where the id is taken."""
        ...

    async def save_process(self, process: Process) -> None:
        """Replaces a stored process; raises ProcessNotFound, and Conflict where an ended one would go on."""
        ...

    async def renew_lease(self, process_id: str, lease_s: float) -> None:
        """Says that the process's runner is alive; raises ProcessNotFound."""
        ...

    async def process(self, process_id: str) -> Process:
        """Raises ProcessNotFound. One that has not ended and whose lease ran out reads as INTERRUPTED."""
        ...

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """The newest first."""
        ...

    async def request_cancel(self, process_id: str) -> None:
        """Asks the runner of a process to stop; raises ProcessNotFound."""
        ...

    async def cancel_requested(self, process_id: str) -> bool: ...

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        """Keeps a report under `key`, with the digest of the rows that it was made of; replaces an older one.

        What is kept may be dropped after a month.
        """
        ...

    async def report(self, key: str, digest: str) -> ModelReport | None:
        """The report kept under `key`, if it was made of rows of that digest."""
        ...

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        """Stores each alert, or replaces the one of its id."""
        ...

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """Of all models or of one: the open ones first, then those resolved last."""
        ...


class Tuner(Protocol):
    """Runs a search."""

    def check(self) -> None:
        """Raises Unavailable when there is no cluster to run on and none can be started."""
        ...

    def share(self, problem: Problem) -> Problem:
        """The same problem, in the memory where its trials will read it: the caller can let go of rows of his own.

        Raises Unavailable.
        """
        ...

    def search(
        self,
        study: Study,
        problem: Problem,
        on_progress: OnProgress = ...,
        on_trial: OnTrial = ...,
        cancelled: Callable[[], bool] = ...,
    ) -> SearchOutcome:
        """Every trial asked for, unless the time limit comes first. Blocks; call it from a thread.

        A trial that raises or is infeasible is recorded and the search goes on. Raises Unavailable when the cluster is
        lost and Cancelled when `cancelled` answered True.
        """
        ...

    def close(self) -> None:
        """Stops what this tuner started."""
        ...


class Tracker(Protocol):
    """Keeps the history of studies for people to look at. It never slows or fails a search."""

    def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the tracking server does not answer."""
        ...

    def begin(self, study: Study) -> None: ...

    def trial(self, study: Study, trial: Trial) -> None: ...

    def end(
        self,
        study: Study,
        succeeded: bool,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Path | None = None,
    ) -> None:
        """Closes the study's run; what was handed over before is written when this returns.

        The files of the folder `artifacts` are kept with the run, below `study`.
        """
        ...

    def close(self) -> None: ...


class Studies(Protocol):
    """Looks back at studies that were run, or are running."""

    def summaries(self, model_id: str | None = None) -> list[StudySummary]:
        """The newest first, of all models or of one."""
        ...

    def study(self, study_id: str) -> StudyReport:
        """Raises NotFound."""
        ...

    def draw(self, study_id: str, folder: Path) -> list[Path]:
        """HTML files in `folder` that need nothing from the network; raises NotFound."""
        ...


class Importer(Protocol):
    """Converts models that were trained elsewhere. It never runs code of theirs in this process."""

    def convert(
        self, uri: str, spec: ModelSpec, target: Schema, rows: pa.Table, into: Path, trust_pickle: bool = False
    ) -> Imported:
        """The model at `uri` as one of a family's, with what it predicts for `rows` where it comes from.

        Scratch files go into the folder `into`. A pickle is opened only with `trust_pickle`, in a process without
        secrets. Raises InvalidRequest for what cannot be converted, InvalidData for columns or classes that do not fit,
        CorruptBundle for a file that cannot be opened, NotFound and Unavailable.
        """
        ...


class Recorded(StrEnum):
    """The two kinds of rows that are recorded of a model."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


class Observations(Protocol):
    """Keeps what models predicted and what came true, as it was told: duplicates, late rows and all.

    Rows are tables with at least `id` (text) and `time` (UTC timestamp of microseconds); other columns may be of other
    types from one call to the next. Recorded rows wait in a queue until `drain` moves them into the archive, which is
    what the other verbs read.
    """

    def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the queue or the archive cannot be reached."""
        ...

    def record(self, model_id: str, kind: Recorded, rows: pa.Table) -> None:
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


class Monitors(Protocol):
    """Watches models for as long as the cluster lives. Raises Unavailable where the cluster does not answer."""

    def start(self, model_id: str, shards: int = 1) -> None:
        """Has a model watched, once its monitors answer; those that run already go on."""
        ...

    def stop(self, model_id: str) -> None: ...

    def running(self) -> list[MonitorState]:
        """By model and shard."""
        ...

    def close(self) -> None: ...


class Registry(Protocol):
    """Keeps versions of models, each one bundle."""

    def register(
        self, model_id: str, bundle: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """A new version, whole or not at all; raises CorruptBundle for a folder that is not a sound bundle."""
        ...

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        """Moves `alias` to `version`, in one step; raises ModelNotFound."""
        ...

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        """Raises ModelNotFound."""
        ...

    def versions(self, model_id: str) -> list[ModelVersion]:
        """The newest first; empty where there are none."""
        ...

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """The version's bundle as a folder below `into`; raises CorruptBundle where its digest is another."""
        ...
