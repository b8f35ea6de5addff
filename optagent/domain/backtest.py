"""Policy backtests: requests, the policies that compete on a model's history, and the answer that compares them."""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.duration import seconds
from optagent.domain.policy import ANSWERS, POLICIES, Action, OptimizationType, RetrainingPolicy, Trigger, with_answer
from optagent.domain.policy_run import PolicyRun
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

NEVER = "never"
SCHEDULED, UNGATED, ORACLE = "scheduled:", "scheduled-ungated:", "oracle:"
KNOWN = (
    NEVER,
    *sorted(POLICIES),
    *(f"{name}:{answer}" for name in sorted(POLICIES) for answer in ANSWERS),
    "scheduled:30d",
    "scheduled-ungated:30d",
    "oracle:30d",
)
"""Names of policies; a duration of any length may follow the last three."""

_YEAR_S = 365 * 86_400
_MOST_SEEDS = 20


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
        """True where a candidate that passes its gates goes on; under notify and candidate a person has to promote."""
        return self.ungated or (self.policy is not None and self.policy.action in (Action.SHADOW, Action.FULL))


def contender_named(name: str) -> Contender:
    """The policy of that name; InvalidRequest lists the known ones.

    >>> contender_named("scheduled:30d").policy.every
    '30d'
    >>> contender_named("balanced:champion").policy.is_mixed
    False
    """
    if name == NEVER:
        return Contender(NEVER)
    if name in POLICIES:
        return Contender(name, POLICIES[name])
    named, _, answer = name.partition(":")
    if named in POLICIES and answer in ANSWERS:
        return Contender(name, with_answer(POLICIES[named], answer))
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
    searches of policies that state none. Doing nothing is always among the `policies`. Each policy is replayed `seeds`
    times, from `seed` on, with other random numbers in training and searches: the intervals then hold their spread.
    """

    policies: tuple[Contender, ...]
    label_delay: str
    start: float | str = 0.3
    step: str = "24h"
    seed: int = 0
    trials: int | None = None
    seeds: int = 1

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
        for name, least in (("seed", 0), ("trials", 1), ("seeds", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidRequest(f"{name} must be a whole number of at least {least}, got {value!r}")
        if self.seeds > _MOST_SEEDS:
            raise InvalidRequest(f"seeds must be at most {_MOST_SEEDS}, got {self.seeds!r}")

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
class Standing:
    """A policy's result against doing nothing, on the same rows, seeds and resamples: positive is better.

    The intervals of all policies hold together with their confidence, so that one may be chosen by them.
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

    Each policy was replayed with `seeds` seeds, from `seed` on.
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
    seeds: int = 1

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
