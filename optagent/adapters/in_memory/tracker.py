"""In-memory tracker: keeps the history of studies, to be read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optagent.domain.study import Study, Trial


@dataclass
class TrackedStudy:
    """One study's history; `succeeded` is None while it is open. A trial that is tracked twice counts once."""

    study: Study
    trials: dict[int, Trial] = field(default_factory=dict)
    succeeded: bool | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)


class InMemoryTracker:
    """`studies` holds the history by study id."""

    def __init__(self) -> None:
        self.studies: dict[str, TrackedStudy] = {}

    def check(self) -> None:
        """Does nothing, as memory always answers."""

    def begin(self, study: Study) -> None:
        tracked = self._open_study(study)
        tracked.succeeded = None

    def log_trial(self, study: Study, trial: Trial) -> None:
        self._open_study(study).trials[trial.number] = trial

    def end(
        self,
        study: Study,
        succeeded: bool,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Path | None = None,
    ) -> None:
        tracked = self._open_study(study)
        tracked.succeeded = succeeded
        tracked.metrics.update(metrics)
        tracked.tags.update(tags)
        for path in artifacts.iterdir() if artifacts else ():
            tracked.artifacts[path.name] = path.read_bytes()

    def close(self) -> None:
        """Does nothing; `studies` stays readable."""

    def _open_study(self, study: Study) -> TrackedStudy:
        return self.studies.setdefault(study.study_id, TrackedStudy(study))
