"""Retraining policies: what starts an optimization, what it may do, and how often."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optagent.domain.alert import Alert, AlertKind
from optagent.domain.diagnosis import Remedy
from optagent.domain.duration import seconds
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest


class Trigger(StrEnum):
    DEGRADATION = "degradation"
    DRIFT = "drift"
    CONCEPT_DRIFT = "concept_drift"
    CONFIDENCE = "confidence"
    SCHEDULE = "schedule"
    NEW_LABELS = "new_labels"
    MANUAL = "manual"


class Action(StrEnum):
    """What is done with a trigger, each includes the one before: people are told, a candidate is made and gated, it
    competes in shadow and waits there for a person, it goes on to become champion."""

    NOTIFY = "notify"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    FULL = "full"


class Stage(StrEnum):
    """What an optimization can do to find a candidate."""

    FEATURES = "features"
    RETRAIN = "retrain"
    TUNE = "tune"
    ENSEMBLE = "ensemble"


class OptimizationType(StrEnum):
    FULL = "full"
    RETRAIN = "retrain"
    TUNE = "tune"
    FEATURES = "features"
    ENSEMBLE = "ensemble"
    AUTO = "auto"


STAGES: Mapping[OptimizationType, tuple[Stage, ...]] = {
    OptimizationType.FULL: (Stage.FEATURES, Stage.TUNE, Stage.ENSEMBLE),
    OptimizationType.RETRAIN: (Stage.RETRAIN,),
    OptimizationType.TUNE: (Stage.TUNE,),
    OptimizationType.FEATURES: (Stage.FEATURES, Stage.RETRAIN),
    OptimizationType.ENSEMBLE: (Stage.TUNE, Stage.ENSEMBLE),
}
"""What each type does; `auto` does what the remedy asks for."""

REMEDIES: Mapping[Remedy, tuple[Stage, ...]] = {
    Remedy.RECALIBRATE: (Stage.RETRAIN,),
    Remedy.RETRAIN: (Stage.RETRAIN,),
    Remedy.RE_TUNE: (Stage.TUNE,),
    Remedy.RE_ENGINEER: (Stage.FEATURES, Stage.TUNE),
    Remedy.ENSEMBLE: (Stage.TUNE, Stage.ENSEMBLE),
}
"""What a diagnosis asks for; the other remedies are not ours to take."""

WINDOWS = ("auto", "expanding", "sliding", "weighted", "since_change")
"""Which rows are learned from: what does best out of fold, all, the newest half, the newer the more, those since a
change. A duration, such as 90d, means the newest so many days."""

_OF_ALERT = {
    AlertKind.PERFORMANCE: Trigger.DEGRADATION,
    AlertKind.DATA_DRIFT: Trigger.DRIFT,
    AlertKind.PREDICTION_DRIFT: Trigger.DRIFT,
    AlertKind.CONCEPT_DRIFT: Trigger.CONCEPT_DRIFT,
    AlertKind.CONFIDENCE: Trigger.CONFIDENCE,
}


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """When a model is optimized without anyone asking, and what may come of it.

    `every` is the time between scheduled runs, `min_new_labels` how many labelled rows since the last training start
    one (None: the setting). `optimization_type` auto does what the diagnosis asks for, which climbs past
    the remedies that failed. `window` says which rows are learned from. After a run, whatever came of it, none starts
    for `cooldown`; at most `most_a_year` start in a year, those that found nothing to do left aside.
    `gates` are as the API takes them, `rollout` are fields of `RolloutPolicy` that are to be other than the strategy's.
    """

    triggers: tuple[Trigger, ...] = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT)
    action: Action = Action.CANDIDATE
    strategy: str = "balanced"
    optimization_type: OptimizationType = OptimizationType.AUTO
    every: str | None = None
    min_new_labels: int | None = None
    cooldown: str = "1d"
    most_a_year: int = 52
    window: str = "auto"
    trials: int | None = None
    timeout_s: float | None = None
    gates: Mapping[str, Any] = field(default_factory=dict)
    rollout: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        if not self.triggers:
            raise InvalidRequest("triggers: a policy without one never does anything; leave the policy out instead")
        if len(set(self.triggers)) != len(self.triggers):
            raise InvalidRequest(f"triggers: a name stands twice in {[str(one) for one in self.triggers]}")
        if Trigger.MANUAL in self.triggers:
            raise InvalidRequest("triggers: manual needs no policy; an optimization can always be asked for")
        if (self.every is None) == (Trigger.SCHEDULE in self.triggers):
            raise InvalidRequest("the trigger schedule and `every` go together: give both or none")
        if self.every is not None and seconds(self.every) < seconds(self.cooldown):
            raise InvalidRequest(f"every {self.every!r} is less than the cooldown {self.cooldown!r}")
        if self.min_new_labels is not None and Trigger.NEW_LABELS not in self.triggers:
            raise InvalidRequest("min_new_labels needs the trigger new_labels")
        for name in ("min_new_labels", "most_a_year", "trials"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value < 1):
                raise InvalidRequest(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.timeout_s is not None and not 1 <= self.timeout_s < math.inf:
            raise InvalidRequest(f"timeout_s must be at least 1 second, got {self.timeout_s!r}")
        check_window(self.window)
        seconds(self.cooldown)


def check_window(window: str) -> None:
    """Raises InvalidRequest for what is neither a window by name nor a duration."""
    if window in WINDOWS:
        return
    try:
        seconds(window)
    except (InvalidRequest, AttributeError):
        raise InvalidRequest(f"unknown window {window!r}; a duration such as 90d, or one of {list(WINDOWS)}") from None


POLICIES: Mapping[str, RetrainingPolicy] = {
    "conservative": RetrainingPolicy(
        (Trigger.CONCEPT_DRIFT,), Action.SHADOW, "conservative", OptimizationType.RETRAIN, cooldown="7d", most_a_year=12
    ),
    "balanced": RetrainingPolicy(
        (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT), Action.FULL, "balanced", OptimizationType.RETRAIN, cooldown="3d"
    ),
    "aggressive": RetrainingPolicy(
        (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.DRIFT, Trigger.SCHEDULE),
        Action.FULL,
        "aggressive",
        OptimizationType.RETRAIN,
        every="30d",
        cooldown="1d",
        most_a_year=365,
    ),
}
"""Policies by name, to start from."""


def policy_named(name: str) -> RetrainingPolicy:
    """InvalidRequest lists the known ones."""
    if name not in POLICIES:
        raise InvalidRequest(f"unknown policy {name!r}; one of {sorted(POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What a policy looks at. Times are POSIX seconds; `trained_at` is when the champion was made, `runs` are the
    times at which optimizations of the model were asked for, `idle` those of them that found nothing to do,
    `new_labels` counts labelled rows since `trained_at`."""

    now: float
    trained_at: float
    alerts: Sequence[Alert] = ()
    runs: Sequence[float] = ()
    new_labels: int = 0
    idle: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class DueTrigger:
    """Why an optimization starts now. The same cause has the same `key`, whoever finds it."""

    trigger: Trigger
    reason: str
    key: str


def due(policy: RetrainingPolicy, facts: PolicyFacts, min_new_labels: int) -> DueTrigger | None:
    """The first of the policy's triggers that calls, None where none does or a run would be too soon."""
    if facts.runs and facts.now - max(facts.runs) < seconds(policy.cooldown):
        return None
    if sum(facts.now - at < 365 * 86_400 for at in facts.runs if at not in facts.idle) >= policy.most_a_year:
        return None
    since = max([facts.trained_at, *facts.runs])
    for trigger in policy.triggers:
        found = _called(trigger, policy, facts, since, policy.min_new_labels or min_new_labels)
        if found is not None:
            return found
    return None


def _called(
    trigger: Trigger, policy: RetrainingPolicy, facts: PolicyFacts, since: float, labels: int
) -> DueTrigger | None:
    if trigger is Trigger.SCHEDULE:
        assert policy.every is not None
        if facts.now - since < seconds(policy.every):
            return None
        return DueTrigger(trigger, f"{policy.every} have passed since the last training", f"schedule:{since:.0f}")
    if trigger is Trigger.NEW_LABELS:
        if facts.new_labels < labels:
            return None
        said = f"{facts.new_labels:,} labelled rows since the last training, {labels:,} were waited for"
        return DueTrigger(trigger, said, f"labels:{since:.0f}")
    # An alert that a run has answered already does not start another one, unless it was seen again after it.
    mine = [one for one in facts.alerts if one.is_open and _OF_ALERT.get(one.kind) is trigger and one.last_seen > since]
    if not mine:
        return None
    alert = max(mine, key=lambda one: (one.severity.rank, one.last_seen))
    return DueTrigger(trigger, f"{alert.kind}: {alert.message}", f"{alert.alert_id}:{since:.0f}")


def stages_of(kind: OptimizationType, remedy: Remedy | None) -> tuple[Stage, ...]:
    """What is to be done; none where the remedy is not ours to take, or nothing is known to be wrong."""
    if kind is not OptimizationType.AUTO:
        return STAGES[kind]
    return () if remedy is None else REMEDIES.get(remedy, ())
