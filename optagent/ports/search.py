"""What a search needs: a cluster, and what keeps its history."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.training.problem import Problem

OnProgress = Callable[[Progress], None]
OnTrial = Callable[[Trial], None]


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

    def draw(self, study_id: str) -> str:
        """An HTML page of plots that needs nothing from the network; raises NotFound."""
        ...
