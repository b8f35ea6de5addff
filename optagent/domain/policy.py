"""Retraining policies: triggers of optimizations, their permitted actions, and their frequency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from optagent.domain.alert import Alert, AlertKind
from optagent.domain.diagnosis import Remedy
from optagent.domain.duration import seconds
from optagent.domain.slot import DEFAULT_SLOTS, check_slots
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest


class Trigger(StrEnum):
    DEGRADATION = "degradation"
    DRIFT = "drift"
    CONCEPT_DRIFT = "concept_drift"
    CONFIDENCE = "confidence"
    SCHEDULE = "schedule"
    NEW_LABELS = "new_labels"
    GROWTH = "growth"
    MANUAL = "manual"


class Action(StrEnum):
    """The extent of the reaction to a trigger; each includes the one before.

    `NOTIFY` notifies people, `CANDIDATE` trains and gates a candidate, `SHADOW` lets it compete in shadow and wait
    there for a person, `FULL` lets it go on to become champion.
    """

    NOTIFY = "notify"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    FULL = "full"


class Stage(StrEnum):
    """The steps by which an optimization finds a candidate."""

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
"""The stages of each type; those of `auto` follow from the remedy."""

REMEDIES: Mapping[Remedy, tuple[Stage, ...]] = {
    Remedy.RECALIBRATE: (Stage.RETRAIN,),
    Remedy.RETRAIN: (Stage.RETRAIN,),
    Remedy.RE_TUNE: (Stage.TUNE,),
    Remedy.RE_ENGINEER: (Stage.FEATURES, Stage.TUNE),
    Remedy.ENSEMBLE: (Stage.TUNE, Stage.ENSEMBLE),
}
"""The stages of each remedy; an optimization cannot carry out the other remedies."""

WINDOWS = ("auto", "expanding", "sliding", "weighted", "since_change")
"""Selections of training rows, in this order: the best of the others out of fold, all rows, the newest half, all rows
with weights that grow with time, the rows since a change. A duration such as 90d selects the newest rows."""

MIXED = "mixture"
ANSWERS = ("champion", MIXED)
"""Who answers: one version, or all slots of a mixture together."""

_TRIGGER_OF_ALERT = {
    AlertKind.PERFORMANCE: Trigger.DEGRADATION,
    AlertKind.DATA_DRIFT: Trigger.DRIFT,
    AlertKind.PREDICTION_DRIFT: Trigger.DRIFT,
    AlertKind.CONCEPT_DRIFT: Trigger.CONCEPT_DRIFT,
    AlertKind.CONFIDENCE: Trigger.CONFIDENCE,
}


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """The rules by which a model is optimized without a request."""

    triggers: tuple[Trigger, ...] = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT)
    """The causes that start an optimization."""
    action: Action = Action.CANDIDATE
    """How far a candidate that passed its gates may go without a person."""
    strategy: str = "balanced"
    """The trade-off between cost and caution: conservative, balanced or aggressive."""
    optimization_type: OptimizationType = OptimizationType.AUTO
    """What an optimization does; `auto` follows the diagnosis, which climbs past the remedies that failed."""
    every: str | None = None
    """The time between scheduled runs, with the trigger schedule."""
    min_new_labels: int | None = None
    """Labelled rows since the last training that start a run, with the trigger new_labels. Unset: the setting
    min_samples_for_retrain."""
    cooldown: str = "1d"
    """The time after every run in which no other starts, as a duration."""
    most_a_year: int = 52
    """Most runs in a year, not counting those that found nothing to do."""
    window: str = "auto"
    """The rows to learn from: auto, expanding, sliding, weighted, since_change, or a duration such as 90d."""
    trials: int | None = None
    """Trials of a search. Unset: as the settings and the strategy say."""
    timeout_s: float | None = None
    """Wall time of a search, in seconds. Unset: as the settings and the strategy say."""
    gates: Mapping[str, Any] = field(default_factory=dict)
    """Conditions on a candidate that differ from the defaults, by name."""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the rollout that differ from the strategy's."""
    refit: bool = True
    """True: a candidate that passed its gates and goes to shadow is trained again on all labelled rows, the holdout's
    too, and shadow judges that version."""
    answer: str = "champion"
    """Who answers: one version, the champion, or the mixture of all `slots`, whose weights follow the labels. With a
    mixture, an optimization renews the slots, and nothing has to be better than the champion first."""
    slots: tuple[str, ...] = DEFAULT_SLOTS
    """The slots of the mixture: champion, all, search, a share such as 1/4, a duration such as 90d, or a version."""
    growth: float = 0.0625
    """The share by which the rows have to grow since the largest slot's model was trained, with the trigger growth."""

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        check_refit(self.refit)
        if not self.triggers:
            raise InvalidRequest("triggers: a policy without one never does anything; leave the policy out instead")
        if len(set(self.triggers)) != len(self.triggers):
            raise InvalidRequest(f"triggers: a name stands twice in {[str(trigger) for trigger in self.triggers]}")
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
        if self.answer not in ANSWERS:
            raise InvalidRequest(f"answer: unknown {self.answer!r}; one of {list(ANSWERS)}")
        check_slots(self.slots)
        if not 0 < self.growth < math.inf:
            raise InvalidRequest(f"growth must be above 0, got {self.growth!r}")
        if Trigger.GROWTH in self.triggers and not self.is_mixed:
            raise InvalidRequest("the trigger growth renews the slots of a mixture: it needs answer: mixture")
        if self.is_mixed and self.action is not Action.FULL:
            raise InvalidRequest(f"answer: a mixture needs the action full, which lets it answer, got {self.action}")

    @property
    def is_mixed(self) -> bool:
        """True where a mixture answers."""
        return self.answer == MIXED


def check_window(window: str) -> None:
    """Raises InvalidRequest for a text that is neither the name of a window nor a duration."""
    if window in WINDOWS:
        return
    try:
        seconds(window)
    except (InvalidRequest, AttributeError):
        raise InvalidRequest(f"unknown window {window!r}; a duration such as 90d, or one of {list(WINDOWS)}") from None


def check_refit(refit: bool) -> None:
    """Raises InvalidRequest for a value that is no switch."""
    if not isinstance(refit, bool):
        raise InvalidRequest(f"refit must be true or false, got {refit!r}")


POLICIES: Mapping[str, RetrainingPolicy] = {
    "conservative": RetrainingPolicy(
        (Trigger.CONCEPT_DRIFT,), Action.SHADOW, "conservative", OptimizationType.RETRAIN, cooldown="7d", most_a_year=12
    ),
    "balanced": RetrainingPolicy(
        (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.GROWTH),
        Action.FULL,
        "balanced",
        OptimizationType.RETRAIN,
        cooldown="3d",
        answer=MIXED,
    ),
    "aggressive": RetrainingPolicy(
        (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.DRIFT, Trigger.SCHEDULE, Trigger.GROWTH),
        Action.FULL,
        "aggressive",
        OptimizationType.RETRAIN,
        every="30d",
        cooldown="1d",
        most_a_year=365,
        answer=MIXED,
        growth=0.03,
    ),
}
"""Ready-made policies by name."""


def with_answer(policy: RetrainingPolicy, answer: str) -> RetrainingPolicy:
    """The policy with another answer: a mixture is renewed as its rows grow, and waits for nobody."""
    triggers = tuple(trigger for trigger in policy.triggers if trigger is not Trigger.GROWTH)
    if answer != MIXED:
        return replace(policy, answer=answer, triggers=triggers)
    return replace(policy, answer=answer, triggers=(*triggers, Trigger.GROWTH), action=Action.FULL)


def policy_named(name: str) -> RetrainingPolicy:
    """The policy of that name; InvalidRequest lists the known ones."""
    if name not in POLICIES:
        raise InvalidRequest(f"unknown policy {name!r}; one of {sorted(POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The facts by which a policy decides. Times are POSIX seconds.

    `trained_at` is the time of the champion's training, `runs` are the times at which optimizations of the model were
    requested, `idle` those of them that found nothing to do; `new_labels` counts labelled rows since `trained_at`, and
    `due_slots` are those of a mixture for which enough rows have come.
    """

    now: float
    trained_at: float
    alerts: Sequence[Alert] = ()
    runs: Sequence[float] = ()
    new_labels: int = 0
    idle: Sequence[float] = ()
    due_slots: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DueTrigger:
    """The cause of an optimization that starts now. The same cause has the same `key` in every process."""

    trigger: Trigger
    reason: str
    key: str


def due_trigger(policy: RetrainingPolicy, facts: PolicyFacts, min_new_labels: int) -> DueTrigger | None:
    """The first of the policy's triggers that is due; None where none is, or a run would be too soon."""
    if facts.runs and facts.now - max(facts.runs) < seconds(policy.cooldown):
        return None
    if sum(facts.now - at < 365 * 86_400 for at in facts.runs if at not in facts.idle) >= policy.most_a_year:
        return None
    since = max([facts.trained_at, *facts.runs])
    for trigger in policy.triggers:
        cause = _check_trigger(trigger, policy, facts, since, policy.min_new_labels or min_new_labels)
        if cause is not None:
            return cause
    return None


def _check_trigger(
    trigger: Trigger, policy: RetrainingPolicy, facts: PolicyFacts, since: float, labels: int
) -> DueTrigger | None:
    if trigger is Trigger.SCHEDULE:
        assert policy.every is not None
        if facts.now - since < seconds(policy.every):
            return None
        return DueTrigger(trigger, f"{policy.every} have passed since the last training", f"schedule:{since:.0f}")
    if trigger is Trigger.GROWTH:
        if not facts.due_slots:
            return None
        reason = f"enough rows have come to train slots {', '.join(facts.due_slots)}"
        return DueTrigger(trigger, reason, f"growth:{since:.0f}")
    if trigger is Trigger.NEW_LABELS:
        if facts.new_labels < labels:
            return None
        reason = f"{facts.new_labels:,} labelled rows since the last training, {labels:,} were waited for"
        return DueTrigger(trigger, reason, f"labels:{since:.0f}")
    open_alerts = [alert for alert in facts.alerts if alert.is_open and _TRIGGER_OF_ALERT.get(alert.kind) is trigger]
    # An alert that a run has answered already does not start another one, unless it was seen again after it.
    unanswered = [alert for alert in open_alerts if alert.last_seen > since]
    if not unanswered:
        return None
    alert = max(unanswered, key=lambda alert: (alert.severity.rank, alert.last_seen))
    return DueTrigger(trigger, f"{alert.kind}: {alert.message}", f"{alert.alert_id}:{since:.0f}")


def stages_of(kind: OptimizationType, remedy: Remedy | None) -> tuple[Stage, ...]:
    """The stages of an optimization; empty where it cannot carry out the remedy, or no problem is known."""
    if kind is not OptimizationType.AUTO:
        return STAGES[kind]
    return () if remedy is None else REMEDIES.get(remedy, ())
