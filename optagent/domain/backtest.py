"""Policy backtests: requests, the runs of retraining policies on a model's history, and their comparison."""

import math
from collections import Counter
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
"""Names of policies; a duration of any length may follow the last three."""

LEAST_ROWS = 50
"""A period with fewer labelled rows is not judged; a monitor needs as many."""

_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy by the name under which it is compared; without a `policy` the first version answers for ever.

    Every model that an `ungated` policy trains becomes champion, whatever the gates say. An `oracle` knows each label
    at once, which no real policy can: its lead over the same policy without that knowledge is the cost of the label
    delay.
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
        """True where a candidate that passes becomes champion; under notify and candidate a person has to promote."""
        return self.ungated or (self.policy is not None and self.policy.action in (Action.SHADOW, Action.FULL))


def contender_named(name: str) -> Contender:
    """The policy of that name; InvalidRequest lists the known ones.

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
            return Contender(name, _scheduled_policy(name.removeprefix(start), ungated), ungated, start == ORACLE)
    raise InvalidRequest(f"unknown policy {name!r}; one of {list(KNOWN)}, or a file of the fields of one")


def _scheduled_policy(every: str, ungated: bool) -> RetrainingPolicy:
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
    """The parameters of a backtest.

    `label_delay` is the time from a row to its label. The replay begins at `start`, a share of the rows or a date in
    ISO 8601; the first version learns from the rows and labels known then. After every `step` the model answers the
    rows of that step, and the policy decides. `trials` is the length of a search for the first version, and of the
    searches of policies that state none. Doing nothing is always among the `policies`.
    """

    policies: tuple[Contender, ...]
    label_delay: str
    start: float | str = 0.3
    step: str = "24h"
    seed: int = 0
    trials: int | None = None

    def __post_init__(self) -> None:
        names = [policy.name for policy in self.policies]
        duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
        if duplicates:
            raise InvalidRequest(f"policies: named twice: {', '.join(duplicates)}")
        if NEVER not in names:
            object.__setattr__(self, "policies", (Contender(NEVER), *self.policies))
        seconds(self.label_delay)
        if not seconds(self.step) >= 60:
            raise InvalidRequest(f"step must be at least 1m, got {self.step!r}")
        if isinstance(self.start, str):
            parse_date(self.start)
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


def parse_start(text: str) -> float | str:
    """The start of a backtest from the text of a command line: a share such as `0.3`, or a date.

    >>> parse_start("0.25")
    0.25
    >>> parse_start("2024-01-31")
    '2024-01-31'
    """
    try:
        return float(text)
    except ValueError:
        return text


def parse_date(date: str) -> float:
    """POSIX seconds of a date in ISO 8601, in UTC where it has no zone."""
    try:
        instant = datetime.fromisoformat(date)
    except ValueError:
        raise InvalidRequest(f"start: {date!r} is neither a share of the rows such as 0.3 nor a date") from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Period:
    """The labelled rows of a stretch of time (POSIX seconds), their score, and the version that answered the last one.

    `metric` is None where it is not defined, such as the AUC of one class.
    """

    start: float
    end: float
    rows: int
    version: str
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """One optimization of a replay: its time, its cause and its result. `said` is why there is no new champion."""

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
    """Counts of a policy's runs and misses, and its cost.

    `retrains` are the runs in which a model was trained, `rejected` those of them whose candidate did not pass: they
    were trained in vain. In one of the `bad_periods` the metric was below the reference by more than the model's
    accuracy_drop_threshold; it is `missed` where no run was started in it or within the cool-down after it. `compute_s`
    is the processor time of the runs.
    """

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
    """One policy's run over the history.

    `metric` is that of all its answers together (prequential). `business` has the mean per labelled row of each metric
    that the model declares, None where no row has the columns that it needs.
    """

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


def count_runs(
    runs: Iterable[ReplayedRun],
    periods: Iterable[Period],
    reference: float,
    maximize: bool,
    threshold: float,
    cooldown_s: float,
    least_rows: int = LEAST_ROWS,
) -> RunCounts:
    """The counts of a policy's runs and periods.

    `threshold` is in the unit of the metric. Periods of fewer than `least_rows` labelled rows are not judged.
    """
    all_runs = list(runs)
    sign = 1.0 if maximize else -1.0
    scores = [(each, each.metric) for each in periods if each.metric is not None and each.rows >= least_rows]
    bad = [each for each, metric in scores if sign * (reference - metric) > threshold]
    missed = [each for each in bad if not any(each.start <= run.at <= each.end + cooldown_s for run in all_runs)]
    return RunCounts(
        optimizations=len(all_runs),
        retrains=sum(run.version is not None for run in all_runs),
        promoted=sum(run.promoted for run in all_runs),
        rejected=sum(run.version is not None and not run.promoted for run in all_runs),
        missed=len(missed),
        bad_periods=len(bad),
        trials=sum(run.trials for run in all_runs),
        compute_s=sum(run.compute_s for run in all_runs),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """A policy's result against doing nothing, on the same rows and resamples: positive is better.

    `best_in` is the share of the resamples in which no other policy did better; equal policies share it. A policy is
    `within_noise` where it cannot be distinguished from the policy with the best lower bound: the interval of their
    difference does not lie below 0.
    """

    name: str
    against_never: Interval
    best_in: float
    within_noise: bool


@dataclass(frozen=True)
class BacktestResult(Answer):
    """Answer of a backtest: `recommended` is the policy with the fewest retrainings of those `within_noise`.

    `confidence` is the share of block resamples in which no other policy does better; `confidence_in_words` holds the
    interval against doing nothing, too.
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
        """The run of a policy; InvalidRequest lists the policies of this backtest."""
        for run in self.runs:
            if run.name == name:
                return run
        raise InvalidRequest(f"no policy {name!r} in this backtest; one of {[run.name for run in self.runs]}")

    def standing(self, name: str) -> Standing | None:
        """The standing of a policy; None for doing nothing, which is the baseline of all."""
        return next((standing for standing in self.standings if standing.name == name), None)


def policy_fields(text: Any) -> dict[str, Any]:
    """The fields of a policy file, under `policy` or on their own; InvalidRequest for anything else."""
    values = text.get("policy", text) if isinstance(text, dict) else text
    if not isinstance(values, dict) or not values:
        raise InvalidRequest(f"a policy file holds the fields of a policy, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
