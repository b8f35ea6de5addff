"""Study: one search for parameters, its trials, early stopping, progress and outcome."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.model import Task
from optagent.domain.selection_skill import SelectionSkill
from optagent.domain.space import SearchSpace
from optagent.errors import InvalidRequest

METHODS = {
    "tpe": "tpe",
    "optuna": "tpe",
    "gp": "gp",
    "bayesian": "gp",
    "hyperopt": "hyperopt",
    "random": "random",
    "nsga2": "nsga2",
    "portfolio": "portfolio",
}
"""Samplers by the names that users may give them."""


def method_named(name: str) -> str:
    """The sampler of that name; InvalidRequest lists the known ones."""
    if name not in METHODS:
        raise InvalidRequest(f"unknown method {name!r}; one of {sorted(METHODS)}")
    return METHODS[name]


@dataclass(frozen=True, slots=True)
class Budget:
    """Early stopping by successive halving (ASHA, Li et al. 2020), in units of training.

    A unit is a share of a family's full training: `max_units` is all of it. Rungs stand at
    grace, grace·factor, grace·factor² … below `max_units`.
    """

    max_units: int = 81
    grace_units: int = 3
    reduction_factor: int = 3
    patience_rounds: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.grace_units <= self.max_units:
            raise InvalidRequest(f"grace_units must be between 1 and {self.max_units}, got {self.grace_units}")
        if self.reduction_factor < 2:
            raise InvalidRequest(f"reduction_factor must be at least 2, got {self.reduction_factor}")
        if self.patience_rounds < 1:
            raise InvalidRequest(f"early_stopping_rounds must be at least 1, got {self.patience_rounds}")

    @property
    def rungs(self) -> tuple[int, ...]:
        """The budgets at which trials are measured; the last one is the full training.

        >>> Budget().rungs
        (3, 9, 27, 81)
        """
        rungs, unit = [], self.grace_units
        while unit < self.max_units:
            rungs.append(unit)
            unit *= self.reduction_factor
        return (*rungs, self.max_units)


class TrialState(StrEnum):
    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"

    @property
    def has_score(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Objective:
    """A quantity that a search maximizes or minimizes."""

    name: str
    maximize: bool

    @property
    def sign(self) -> float:
        return 1.0 if self.maximize else -1.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters and its result.

    `score` is the best mean over folds up to the last budget (None without one), reached at `rounds` of the family's
    own training steps; `units` is the budget that it was trained with. `measurements` are scores by budget. `others`
    are the final values of the study's other objectives. `block_gains` are what it gains over a constant answer in
    blocks of the validation rows, the oldest first.
    """

    number: int
    family: str
    params: Mapping[str, Any]
    state: TrialState
    score: float | None = None
    rounds: int = 0
    units: int = 0
    duration_s: float = 0.0
    error: str | None = None
    measurements: Mapping[int, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    block_gains: tuple[float, ...] = ()

    @property
    def params_key(self) -> str:
        """A text that is the same for trials with the same parameters."""
        return f"{self.family} {json.dumps(dict(self.params), sort_keys=True, default=str)}"


@dataclass(frozen=True, slots=True)
class Study:
    """A search's spaces, objectives, sampler and limits.

    The champion's family and parameters are tried first, then `defaults`, one trial per family, then `starting_points`,
    each a family and parameters. `metric` is the first objective, `others` come after it. `data_digest` identifies the
    rows, so that a study never continues on others. Of so many best trials as `kept_predictions`, the out-of-fold
    predictions are kept.
    """

    study_id: str
    model_id: str
    task: Task
    metric: str
    maximize: bool
    spaces: Mapping[str, SearchSpace]
    defaults: Mapping[str, Mapping[str, Any]]
    sampler: str = "tpe"
    trials: int = 100
    timeout_s: float = 3600.0
    concurrency: int | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    others: tuple[Objective, ...] = ()
    champion: tuple[str, Mapping[str, Any]] | None = None
    transfer: bool = True
    stopping: str = "asha"
    trial_timeout_s: float | None = None
    trial_memory_mb: float | None = None
    max_cpu_s: float | None = None
    niceness: int = 10
    data_digest: str = ""
    kept_predictions: int = 0
    starting_points: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the metric first."""
        return (Objective(self.metric, self.maximize), *self.others)

    @property
    def first_trials(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Family and parameters of the first trials: the champion's if it is searched, then the defaults of each
        family in the order of the spaces."""
        defaults = [(family, self.defaults.get(family, {})) for family in self.spaces]
        if self.champion is not None and self.champion[0] in self.spaces:
            return [self.champion, *defaults]
        return defaults

    def __post_init__(self) -> None:
        if isinstance(self.trials, bool) or not isinstance(self.trials, int) or self.trials < 1:
            raise InvalidRequest(f"trials must be a whole number of at least 1, got {self.trials!r}")
        if not self.timeout_s >= 1:
            raise InvalidRequest(f"timeout_s must be at least 1 second, got {self.timeout_s!r}")
        if self.concurrency is not None and self.concurrency < 1:
            raise InvalidRequest(f"concurrency must be at least 1, got {self.concurrency}")
        if not self.spaces:
            raise InvalidRequest("a study needs at least one family")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a search; `eta_s` is the time left in seconds, None until a trial has ended."""

    trials_done: int
    trials_total: int
    pruned: int = 0
    failed: int = 0
    running: int = 0
    best_score: float | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None


def progress_of(study: Study, trials: Sequence[Trial], running: int, elapsed_s: float) -> Progress:
    """The progress of a study after `trials`; the time left follows from the pace so far, up to the time limit."""
    done = len(trials)
    pace = elapsed_s / done * (study.trials - done) if done else None
    scores = [trial.score for trial in trials if trial.state is TrialState.COMPLETE and trial.score is not None]
    return Progress(
        trials_done=done,
        trials_total=study.trials,
        pruned=sum(trial.state is TrialState.PRUNED for trial in trials),
        failed=sum(not trial.state.has_score for trial in trials),
        running=running,
        best_score=(max if study.maximize else min)(scores) if scores else None,
        elapsed_s=elapsed_s,
        eta_s=None if pace is None else max(0.0, min(study.timeout_s - elapsed_s, pace)),
    )


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """Every trial of a search, in the order in which they ended; `timed_out` is True where the time limit ended it.

    `predictions` holds, by the number of a trial, an array of predictions for the validation rows of each fold: of the
    best trials of this run of the search, as many as the study asks for and memory allows.
    """

    trials: tuple[Trial, ...]
    timed_out: bool = False
    predictions: Mapping[int, Sequence[Any]] = field(default_factory=dict)

    def best(self, maximize: bool) -> Trial | None:
        """The best complete trial; among equals the one that ended first."""
        sign = 1 if maximize else -1
        scored = [
            (sign * trial.score, trial)
            for trial in self.trials
            if trial.state is TrialState.COMPLETE and trial.score is not None
        ]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def count(self, *states: TrialState) -> int:
        return sum(trial.state in states for trial in self.trials)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between two bounds at confidence `1 - alpha`."""

    estimate: float
    low: float
    high: float
    alpha: float


@dataclass(frozen=True)
class TuningResult(Answer):
    """Answer of a search for parameters: the best ones, and the comparison with `baseline_name` on the holdout."""

    process_id: str | None = None
    model_id: str | None = None
    metric: str | None = None
    best_params: Mapping[str, Any] | None = None
    best_score: float | None = None
    front: tuple[Mapping[str, Any], ...] = ()
    hypervolume: tuple[float, ...] = ()
    selection: SelectionSkill | None = None
    holdout: Interval | None = None
    baseline_name: str | None = None
    baseline_holdout: Interval | None = None
    improvement: Interval | None = None
    corrected_improvement: float | None = None
    verdict: str | None = None
    version: str | None = None
    aliases: tuple[str, ...] = ()
    trials: int = 0
    pruned: int = 0
    failed: int = 0
    timed_out: bool = False
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
