"""Study reports: the trials of a past study, parameter importances and the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optagent.domain.answer import Viewable
from optagent.domain.selection_skill import SelectionSkill
from optagent.domain.study import Objective, Trial, TrialState

_MIN_COMPLETE_TRIALS = 4
_ORDER = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.INFEASIBLE: 2, TrialState.FAILED: 3}


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Summary of one study; `best_score` is that of the first objective over the complete trials."""

    study_id: str
    model_id: str
    objectives: tuple[Objective, ...]
    counts: Mapping[TrialState, int]
    best_score: float | None = None


@dataclass(frozen=True, slots=True)
class StudyReport(Viewable):
    """A study with its trials by number.

    `importances` are shares that sum to 1, the largest first; a parameter is named `family.parameter`. They are empty
    where the trials say nothing about them. `front` has the trials that no other trial beats in every objective, the
    best by the first objective first; it is empty for a single objective. `selection` is None for too few trials.
    """

    summary: StudySummary
    trials: tuple[Trial, ...]
    importances: Mapping[str, float]
    front: tuple[Trial, ...] = ()
    selection: SelectionSkill | None = None

    def ranked_trials(self) -> list[Trial]:
        """The complete trials by score, the best first; then those stopped early; then the rest."""
        sign = self.summary.objectives[0].sign

        def place(trial: Trial) -> tuple[int, float, int]:
            score = _finite_score(trial)
            return _ORDER[trial.state], math.inf if score is None else -sign * score, trial.number

        return sorted(self.trials, key=place)


def summarize(study_id: str, model_id: str, objectives: tuple[Objective, ...], trials: Sequence[Trial]) -> StudySummary:
    """The summary of a study with these trials."""
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    complete = [_finite_score(trial) for trial in trials if trial.state is TrialState.COMPLETE]
    scores = [score for score in complete if score is not None]
    best = max(scores, key=lambda score: objectives[0].sign * score) if scores else None
    return StudySummary(study_id, model_id, objectives, counts, best)


def can_rank_parameters(trials: Sequence[Trial]) -> bool:
    """True where the importances can be computed: from at least four complete trials that do not all score the same."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and _finite_score(trial) is not None]
    scores = {(trial.score, *trial.others.values()) for trial in complete}
    return len(complete) >= _MIN_COMPLETE_TRIALS and len(scores) > 1


def _finite_score(trial: Trial) -> float | None:
    return trial.score if trial.score is not None and math.isfinite(trial.score) else None
