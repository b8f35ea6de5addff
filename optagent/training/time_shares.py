"""Time shares of a limit: the seconds to set aside for what follows a search, from the measured times of its trials."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optagent.domain.study import Study, Trial, TrialState
from optagent.training.families.registry import family_named
from optagent.training.problem import Problem

LEAST_FINISH_S = 6.0
"""The least time to set aside for registration and the end of a command."""

_ENSEMBLE_SHARE = 1 / 3  # of the whole limit, at most
_KINDS_OF_BAGS = 2
_BAG_SHARE = 1 / 6  # of the whole limit, at most
_FINISH_SHARE = 1.0
_WEIGHING_S = 0.5
_WEIGHING_S_A_CELL = 4e-6


@dataclass(frozen=True, slots=True)
class AfterSearch:
    """The steps that follow a search: `fits` trainings of the best trial on all development rows, an ensemble of up to
    `members` trials (0: none), where it `has_baseline` a training by the defaults of the best trial's family, and a
    `bag` of so many models (0: none)."""

    fits: int = 2
    members: int = 0
    has_baseline: bool = False
    bag: int = 0


@dataclass(frozen=True, slots=True)
class TimeShares:
    """Seconds after a search."""

    ensemble_s: float = 0.0
    fits_s: float = 0.0
    bag_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.ensemble_s + self.fits_s + self.bag_s


def share_time(
    after: AfterSearch, study: Study, trials: Sequence[Trial], problem: Problem, limit_s: float
) -> TimeShares:
    """The shares of what follows a search, as its trials so far let expect them.

    A training on all rows takes as long as the folds of its trial did, by the rows that were learned. Trials that ran
    beside others had less of the cores than the training will have, so that this is rather too much.
    """
    best = best_trials(study, trials, max(1, after.members))
    costs = [fit_seconds(trial, problem) for trial in best]
    ensemble_s = 0.0
    if after.members and len(costs) > 1:
        wanted_s = weighing_seconds(problem, len(costs)) + math.fsum(costs)
        ensemble_s = min(wanted_s, limit_s * _ENSEMBLE_SHARE)
    fits_s = after.fits * max(costs[:1], default=0.0)
    if after.has_baseline and best:
        fits_s += baseline_seconds(best[0], study, trials, problem)
    bag_s = 0.0
    if after.bag and best:
        bag_s = min(after.bag * (_KINDS_OF_BAGS * best[0].duration_s + after.fits * costs[0]), limit_s * _BAG_SHARE)
    return TimeShares(ensemble_s, fits_s, bag_s)


def fit_seconds(trial: Trial, problem: Problem) -> float:
    """The seconds that a training by a trial's parameters on all development rows will take, for as many rounds."""
    return trial.duration_s * problem.fit_share


def baseline_seconds(best: Trial, study: Study, trials: Sequence[Trial], problem: Problem) -> float:
    """The seconds of a training by the defaults of a trial's family: by the trial of these defaults, else by its own.

    It takes as many rounds as the library's defaults, whatever the trial had.
    """
    defaults = dict(study.defaults.get(best.family, {}))
    trial = next((each for each in trials if each.family == best.family and dict(each.params) == defaults), best)
    family = family_named(trial.family)
    return fit_seconds(trial, problem) * family.default_rounds / max(1, trial.units * family.rounds_per_unit)


def weighing_seconds(problem: Problem, members: int) -> float:
    """The seconds that a search for weights and its proof take, by the predictions that it reads."""
    rows = sum(len(fold.valid) for fold in problem.folds)
    return _WEIGHING_S + _WEIGHING_S_A_CELL * rows * members * max(1, problem.data.n_classes - 1)


def best_trials(study: Study, trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best complete trials, the best first; where there is none, the best of those that have a score."""
    sign = 1 if study.maximize else -1
    scored = [trial for trial in trials if trial.state.has_score and trial.score is not None]
    complete = [trial for trial in scored if trial.state is TrialState.COMPLETE]
    return sorted(complete or scored, key=lambda trial: -sign * (trial.score or 0.0))[: count if complete else 1]


def count_affordable(costs: Sequence[float], left_s: float) -> int:
    """The number of the first trainings that fit into the time together.

    >>> count_affordable([1.0, 2.0, 3.0], left_s=4.0)
    2
    """
    spent = 0.0
    for count, cost in enumerate(costs):
        spent += cost
        if spent > left_s:
            return count
    return len(costs)


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave of trainings fold by fold, one a worker: its seconds, and the recipes that are trained by its end.

    `fit_share` is the cost of a training on all rows, as a share of that of all folds.
    """

    seconds: float
    trained: int
    fit_share: float


def fits_another_wave(last: Wave, workers: int, left_s: float) -> bool:
    """True where the time left suffices for one more wave, and for trainings on all rows by every recipe so far.

    >>> [fits_another_wave(Wave(4.0, 2, fit_share=0.5), workers=2, left_s=left_s) for left_s in (13.0, 11.0)]
    [True, False]
    """
    fits_s = last.seconds * last.fit_share * (last.trained + workers)
    return left_s > 0 and last.seconds + fits_s <= left_s


def finish_seconds(opening_s: float, limit_s: float) -> float:
    """The seconds to set aside for what does not grow with the trials: registration and the end of a command.

    On an idle machine that is some 5 s. A busy one, which was slow to come to a search, is slow to come to an end. At
    most a quarter of the limit.
    """
    return min(max(LEAST_FINISH_S, _FINISH_SHARE * opening_s), limit_s / 4)
