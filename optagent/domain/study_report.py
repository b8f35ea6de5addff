"""What can be told of a study that was run: how it went, which parameters mattered, which trials are its answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optagent.domain.study import Objective, Trial, TrialState

_NEEDED = 4
_ORDER = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.INFEASIBLE: 2, TrialState.FAILED: 3}


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One study in a line; `best_score` is that of the first objective over the complete trials."""

    study_id: str
    model_id: str
    objectives: tuple[Objective, ...]
    counts: Mapping[TrialState, int]
    best_score: float | None = None


@dataclass(frozen=True, slots=True)
class StudyReport:
    """A study with its trials by number.

    `importances` are shares that sum to 1, the largest first; a parameter is named `family.parameter`. They are empty
    where the trials say nothing about them. `front` are the trials that no other beats in every objective, the best by
    the first one ahead; it is empty for a single objective.
    """

    summary: StudySummary
    trials: tuple[Trial, ...]
    importances: Mapping[str, float]
    front: tuple[Trial, ...] = ()

    def ranked(self) -> list[Trial]:
        """The complete trials by score, the best first; then those stopped early; then the rest."""
        sign = self.summary.objectives[0].sign

        def place(trial: Trial) -> tuple[int, float, int]:
            score = _finite(trial)
            return _ORDER[trial.state], math.inf if score is None else -sign * score, trial.number

        return sorted(self.trials, key=place)


def summarize(study_id: str, model_id: str, objectives: tuple[Objective, ...], trials: Sequence[Trial]) -> StudySummary:
    """How a study of these trials went."""
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    complete = [_finite(trial) for trial in trials if trial.state is TrialState.COMPLETE]
    scores = [score for score in complete if score is not None]
    best = max(scores, key=lambda score: objectives[0].sign * score) if scores else None
    return StudySummary(study_id, model_id, objectives, counts, best)


def tells_parameters_apart(trials: Sequence[Trial]) -> bool:
    """Whether importances can be told: at least four complete trials, and not all of them came to the same."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and _finite(trial) is not None]
    return len(complete) >= _NEEDED and len({(trial.score, *trial.others.values()) for trial in complete}) > 1


def _finite(trial: Trial) -> float | None:
    return trial.score if trial.score is not None and math.isfinite(trial.score) else None
