"""Search ports: the cluster that runs trials, and the history of studies."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from optagent.domain.model import Task
from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.training.problem import Problem

OnProgress = Callable[[Progress], None]
OnTrial = Callable[[Trial], None]


class Tuner(Protocol):
    """Runs searches on a cluster."""

    def check(self) -> None:
        """Raises Unavailable when there is no cluster to run on and none can be started."""
        ...

    def start(self, task: Task, families: Sequence[str]) -> None:
        """Begins to start or connect the cluster, whose workers load what trials of these families and this task need.

        It waits for neither: a search raises Unavailable where there is no cluster. Call it from a thread.
        """
        ...

    def share(self, problem: Problem) -> Problem:
        """The same problem, in the memory where its trials will read it: the caller may free its own rows.

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
        is_over: Callable[[], bool] = ...,
    ) -> SearchOutcome:
        """Runs all trials of a study, or as many as the time limit permits. Blocks; call it from a thread.

        A trial that raises or is infeasible is recorded and the search goes on. Once `is_over` answers True, the search
        ends as at its own time limit: trials under way are stopped. Raises Unavailable when the cluster is lost and
        Cancelled when `cancelled` returned True.
        """
        ...

    def close(self) -> None:
        """Stops what this tuner started."""
        ...


class Tracker(Protocol):
    """Keeps the history of studies for people to browse. It never slows or fails a search."""

    def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the tracking server does not answer."""
        ...

    def begin(self, study: Study) -> None: ...

    def log_trial(self, study: Study, trial: Trial) -> None: ...

    def end(
        self,
        study: Study,
        succeeded: bool,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Path | None = None,
    ) -> None:
        """Closes the study's run; everything logged before is written when this returns.

        The files of the folder `artifacts` are stored with the run, below `study`.
        """
        ...

    def close(self) -> None: ...


class Studies(Protocol):
    """Reads past and running studies."""

    def summaries(self, model_id: str | None = None) -> list[StudySummary]:
        """The summaries of studies, the newest first, of all models or of one."""
        ...

    def study(self, study_id: str) -> StudyReport:
        """The report of a study; raises NotFound."""
        ...

    def draw(self, study_id: str) -> str:
        """An HTML page of a study's plots that needs nothing from the network; raises NotFound."""
        ...
