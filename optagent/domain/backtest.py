"""Policy backtests: what is asked, what a policy would have done with a model's history, and which one to take."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.duration import seconds
from optagent.domain.policy import POLICIES, Action, OptimizationType, RetrainingPolicy, Trigger
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

NEVER = "never"
SCHEDULED, UNGATED, ORACLE = "scheduled:", "scheduled-ungated:", "oracle:"
KNOWN = (NEVER, *sorted(POLICIES), "scheduled:30d", "scheduled-ungated:30d", "oracle:30d")
"""How policies are named; a duration of any length goes with the last three."""

LEAST_ROWS = 50
"""Fewer labelled rows say nothing of a period; a monitor asks for as many."""

_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy by the name under which it is compared; without a `policy` the first version answers for ever.

    What an `ungated` one trains becomes champion whatever the gates say. An `oracle` is told each label at once: what
    the delay of labels costs is its lead over the same policy without that gift, and nobody can take it.
    """

    name: str
    policy: RetrainingPolicy | None = None
    ungated: bool = False
    oracle: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidRequest("policy: a name is needed")
        if self.policy is None and (self.ungated or self.name != NEVER):
            raise InvalidRequest(f"policy {self.name!r}: only {NEVER!r} goes without a policy")
        if self.policy is not None and self.name == NEVER:
            raise InvalidRequest(f"policy {NEVER!r} is the name of doing nothing; take another one")

    @property
    def promotes(self) -> bool:
        """Whether a candidate that passes becomes champion; under notify and candidate a person has to do it."""
        return self.ungated or (self.policy is not None and self.policy.action in (Action.SHADOW, Action.FULL))


def contender_named(name: str) -> Contender:
    """A policy by name; InvalidRequest lists the known ones.

    >>> contender_named("scheduled:30d").policy.every
    '30d'
    """
    if name == NEVER:
        return Contender(NEVER)
    if name in POLICIES:
        return Contender(name, POLICIES[name])
    for start in (SCHEDULED, UNGATED, ORACLE):
        if name.startswith(start):
            ungated = start != SCHEDULED
            return Contender(name, _scheduled(name.removeprefix(start), ungated), ungated, start == ORACLE)
    raise InvalidRequest(f"unknown policy {name!r}; one of {list(KNOWN)}, or a file of the fields of one")


def _scheduled(every: str, ungated: bool) -> RetrainingPolicy:
    length = seconds(every)
    if length < 3600:
        raise InvalidRequest(f"scheduled: at least an hour is needed between two runs, got {every!r}")
    return RetrainingPolicy(
        (Trigger.SCHEDULE,),
        Action.FULL,
        optimization_type=OptimizationType.RETRAIN,
        every=every,
        cooldown=every if length < 86_400 else "1d",
        most_a_year=math.ceil(_YEAR_S / length) + 1,
        window="expanding" if ungated else "auto",
        gates={"beats_champion": False} if ungated else {},
    )


@dataclass(frozen=True, slots=True)
class BacktestAsk:
    """What to replay.

    `label_delay` is how long after its row a label is known. The replay begins at `start`, a share of the rows or a
    date in ISO 8601; the first version learns from what was known then. Every `step` the rows of one are answered, and
    the policy looks. With `trials` the first version is searched for, and searches of policies that do not say how
    many take as many. Doing nothing is always among the `policies`.
    """

    policies: tuple[Contender, ...]
    label_delay: str
    start: float | str = 0.3
    step: str = "24h"
    seed: int = 0
    trials: int | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.policies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidRequest(f"policies: named twice: {', '.join(twice)}")
        if NEVER not in names:
            object.__setattr__(self, "policies", (Contender(NEVER), *self.policies))
        seconds(self.label_delay)
        if not seconds(self.step) >= 60:
            raise InvalidRequest(f"step must be at least 1m, got {self.step!r}")
        if isinstance(self.start, str):
            instant_of(self.start)
        elif isinstance(self.start, bool) or not 0 < self.start < 1:
            raise InvalidRequest(f"start must be a share of the rows between 0 and 1, or a date, got {self.start!r}")
        for name, least in (("seed", 0), ("trials", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidRequest(f"{name} must be a whole number of at least {least}, got {value!r}")

    @property
    def delay_s(self) -> float:
        return seconds(self.label_delay)

    @property
    def step_s(self) -> float:
        return seconds(self.step)


def start_from(text: str) -> float | str:
    """As it is written on a command line: `0.3`, or a date.

    >>> start_from("0.25"), start_from("2024-01-31")
    (0.25, '2024-01-31')
    """
    try:
        return float(text)
    except ValueError:
        return text


def instant_of(date: str) -> float:
    """POSIX seconds of a date in ISO 8601, in UTC where it does not say."""
    try:
        read = datetime.fromisoformat(date)
    except ValueError:
        raise InvalidRequest(f"start: {date!r} is neither a share of the rows such as 0.3 nor a date") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Period:
    """The labelled rows of a stretch of time (POSIX seconds), which version answered the last of them, and how well.

    `metric` is None where it is not defined, as AUC of one class.
    """

    start: float
    end: float
    rows: int
    version: str
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """One optimization of a replay: when and why, and what came of it. `said` is why there is no new champion."""

    at: float
    trigger: str
    reason: str
    status: str
    verdict: str | None = None
    version: str | None = None
    promoted: bool = False
    window: str | None = None
    trials: int = 0
    compute_s: float = 0.0
    said: str | None = None


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a policy cost and did. `retrains` are the runs in which a model was trained, `rejected` those of them whose
    candidate did not pass: had it not been trained, nothing would be lost. In a `missed` period the metric was below
    the reference by more than the model's accuracy_drop_threshold, and no run was started in it or within the
    cool-down after it. `compute_s` is the time of processors spent on runs."""

    optimizations: int = 0
    retrains: int = 0
    promoted: int = 0
    rejected: int = 0
    missed: int = 0
    bad_periods: int = 0
    trials: int = 0
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What one policy did with the history. `metric` is of all its answers together (prequential); `business` are the
    means a labelled row of the metrics that the model declares, None where no row has what one needs."""

    name: str
    policy: RetrainingPolicy | None
    ungated: bool
    metric: float | None
    reference: float
    periods: tuple[Period, ...]
    runs: tuple[ReplayedRun, ...]
    counted: RunCounts
    notes: tuple[str, ...] = ()
    business: Mapping[str, float | None] = field(default_factory=dict)
    oracle: bool = False


def counted_of(
    runs: Iterable[ReplayedRun],
    periods: Iterable[Period],
    reference: float,
    maximize: bool,
    threshold: float,
    cooldown_s: float,
    least_rows: int = LEAST_ROWS,
) -> RunCounts:
    """`threshold` is in the unit of the metric. Periods of fewer than `least_rows` labelled rows are not judged."""
    done = list(runs)
    sign = 1.0 if maximize else -1.0
    judged = [one for one in periods if one.metric is not None and one.rows >= least_rows]
    bad = [one for one in judged if one.metric is not None and sign * (reference - one.metric) > threshold]
    missed = [one for one in bad if not any(one.start <= run.at <= one.end + cooldown_s for run in done)]
    return RunCounts(
        optimizations=len(done),
        retrains=sum(run.version is not None for run in done),
        promoted=sum(run.promoted for run in done),
        rejected=sum(run.version is not None and not run.promoted for run in done),
        missed=len(missed),
        bad_periods=len(bad),
        trials=sum(run.trials for run in done),
        compute_s=sum(run.compute_s for run in done),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a policy did against doing nothing, on the same rows and resamples: positive is better.

    `best_in` is the share of the resamples in which no other did better; equals share it. One `within_noise` cannot be
    told from the policy with the best lower bound: the interval of their difference does not lie below 0.
    """

    name: str
    against_never: Interval
    best_in: float
    within_noise: bool


@dataclass(frozen=True)
class BacktestResult(Answer):
    """`recommended` is the policy with the fewest retrainings of those that cannot be told from the best.

    `confidence` is the share of block resamples in which no other does better; `confidence_in_words` holds the interval
    against doing nothing too.
    """

    model_id: str | None = None
    metric: str | None = None
    maximize: bool | None = None
    label_delay: str | None = None
    step: str | None = None
    seed: int | None = None
    start: float | None = None
    end: float | None = None
    rows: int = 0
    learned_rows: int = 0
    period_s: float | None = None
    runs: tuple[PolicyRun, ...] = ()
    standings: tuple[Standing, ...] = ()
    recommended: str | None = None
    confidence: float | None = None
    confidence_in_words: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    def run(self, name: str) -> PolicyRun:
        """The run of a policy; InvalidRequest lists those that there are."""
        for one in self.runs:
            if one.name == name:
                return one
        raise InvalidRequest(f"no policy {name!r} in this backtest; one of {[one.name for one in self.runs]}")

    def standing(self, name: str) -> Standing | None:
        """None for doing nothing, with which all are compared."""
        return next((one for one in self.standings if one.name == name), None)


def policy_fields(text: Any) -> dict[str, Any]:
    """The fields of a policy file, under `policy` or on their own; InvalidRequest for anything else."""
    found = text.get("policy", text) if isinstance(text, dict) else text
    if not isinstance(found, dict) or not found:
        raise InvalidRequest(f"a policy file holds the fields of a policy, got {type(found).__name__}")
    return {str(name): value for name, value in found.items()}
