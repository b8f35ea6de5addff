"""A policy says when a model is optimized, and never lets it be too often."""

from dataclasses import replace
from typing import Any

import pytest

from optagent.codec import decode, model_from, plain
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.diagnosis import Remedy
from optagent.domain.optimization import Metrics, OptimizationResult
from optagent.domain.policy import (
    POLICIES,
    Action,
    OptimizationType,
    PolicyFacts,
    RetrainingPolicy,
    Stage,
    Trigger,
    due_trigger,
    policy_named,
    stages_of,
)
from optagent.errors import InvalidRequest

DAY = 86_400.0
NOW = 1_700_000_000.0


def an_alert(kind: AlertKind = AlertKind.CONCEPT_DRIFT, seen: float = NOW, **more: Any) -> Alert:
    fields = {"alert_id": f"churn:{kind}", "model_id": "churn", "message": "worse", "evidence": {}}
    return Alert(**fields, kind=kind, severity=Severity.WARNING, first_seen=seen - DAY, last_seen=seen, **more)


def facts(**more: Any) -> PolicyFacts:
    return PolicyFacts(**{"now": NOW, "trained_at": NOW - 100 * DAY, **more})


@pytest.mark.parametrize(
    ("kind", "trigger"),
    [
        (AlertKind.PERFORMANCE, Trigger.DEGRADATION),
        (AlertKind.DATA_DRIFT, Trigger.DRIFT),
        (AlertKind.PREDICTION_DRIFT, Trigger.DRIFT),
        (AlertKind.CONCEPT_DRIFT, Trigger.CONCEPT_DRIFT),
        (AlertKind.CONFIDENCE, Trigger.CONFIDENCE),
    ],
)
def test_an_open_alert_calls_for_the_policy_that_listens_to_it(kind: AlertKind, trigger: Trigger):
    alerts = [an_alert(kind)]
    cause = due_trigger(RetrainingPolicy((trigger,)), facts(alerts=alerts), 1000)
    assert cause is not None
    assert (cause.trigger, cause.reason) == (trigger, f"{kind}: worse")
    others = tuple(one for one in (Trigger.DEGRADATION, Trigger.DRIFT, Trigger.CONCEPT_DRIFT) if one is not trigger)
    assert due_trigger(RetrainingPolicy(others), facts(alerts=alerts), 1000) is None


def test_an_alert_that_is_over_or_was_answered_by_a_run_calls_for_nothing():
    policy = RetrainingPolicy(cooldown="1d")
    assert due_trigger(policy, facts(alerts=[an_alert(resolved_at=NOW)]), 1000) is None
    assert due_trigger(policy, facts(alerts=[an_alert(seen=NOW - 3 * DAY)], runs=[NOW - 2 * DAY]), 1000) is None
    assert due_trigger(policy, facts(alerts=[an_alert(seen=NOW)], runs=[NOW - 2 * DAY]), 1000) is not None


def test_nothing_starts_within_the_cooldown_or_beyond_the_yearly_budget():
    policy = RetrainingPolicy(cooldown="7d", most_a_year=2)
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=[NOW - 6 * DAY]), 1000) is None
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=[NOW - 8 * DAY]), 1000) is not None
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=[NOW - 8 * DAY, NOW - 300 * DAY]), 1000) is None
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=[NOW - 8 * DAY, NOW - 400 * DAY]), 1000) is not None


def test_a_run_that_found_nothing_to_do_has_its_cooldown_and_costs_nothing_of_the_yearly_budget():
    policy = RetrainingPolicy(cooldown="7d", most_a_year=2)
    runs = [NOW - 8 * DAY, NOW - 20 * DAY, NOW - 300 * DAY]
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=runs), 1000) is None
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=runs, idle=runs[:2]), 1000) is not None
    waiting = [NOW - 6 * DAY]
    assert due_trigger(policy, facts(alerts=[an_alert()], runs=waiting, idle=waiting), 1000) is None


def test_a_schedule_counts_from_the_last_training_or_run():
    policy = RetrainingPolicy((Trigger.SCHEDULE,), every="30d")
    assert due_trigger(policy, facts(trained_at=NOW - 29 * DAY), 1000) is None
    cause = due_trigger(policy, facts(trained_at=NOW - 31 * DAY), 1000)
    assert cause is not None
    assert cause.key == due_trigger(policy, facts(trained_at=NOW - 31 * DAY, now=NOW + 5), 1000).key  # type: ignore[union-attr]
    assert due_trigger(policy, facts(runs=[NOW - 10 * DAY]), 1000) is None


def test_new_labels_are_waited_for_up_to_the_policy_or_the_setting():
    policy = RetrainingPolicy((Trigger.NEW_LABELS,))
    assert due_trigger(policy, facts(new_labels=999), 1000) is None
    assert due_trigger(policy, facts(new_labels=1000), 1000) is not None
    assert due_trigger(replace(policy, min_new_labels=10), facts(new_labels=10), 1000) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triggers": ()}, "never does anything"),
        ({"triggers": (Trigger.MANUAL,)}, "manual needs no policy"),
        ({"triggers": (Trigger.DRIFT, Trigger.DRIFT)}, "stands twice"),
        ({"triggers": (Trigger.SCHEDULE,)}, "go together"),
        ({"every": "30d"}, "go together"),
        ({"triggers": (Trigger.SCHEDULE,), "every": "1h"}, "less than the cooldown"),
        ({"min_new_labels": 5}, "needs the trigger new_labels"),
        ({"most_a_year": 0}, "most_a_year must be a whole number of at least 1, got 0"),
        ({"trials": -1}, "trials must be"),
        ({"timeout_s": float("nan")}, "timeout_s must be at least 1 second, got nan"),
        ({"strategy": "reckless"}, "unknown strategy 'reckless'"),
        ({"window": "sometimes"}, "unknown window 'sometimes'"),
        ({"cooldown": "soon"}, "'soon' is not a duration"),
        ({"refit": "yes"}, "refit must be true or false, got 'yes'"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(InvalidRequest, match=message):
        RetrainingPolicy(**change)


def test_the_remedy_chooses_the_stages_and_some_remedies_are_not_for_a_new_model():
    assert stages_of(OptimizationType.AUTO, Remedy.RE_ENGINEER) == (Stage.FEATURES, Stage.TUNE)
    assert stages_of(OptimizationType.AUTO, Remedy.RETRAIN) == (Stage.RETRAIN,)
    for remedy in (Remedy.NOTHING, Remedy.WAIT, Remedy.FIX_PIPELINE, None):
        assert stages_of(OptimizationType.AUTO, remedy) == ()
    assert stages_of(OptimizationType.FULL, None) == (Stage.FEATURES, Stage.TUNE, Stage.ENSEMBLE)


def test_policies_have_names_and_a_model_can_have_one_by_name_or_by_fields(churn: dict[str, Any]):
    assert set(POLICIES) == {"conservative", "balanced", "aggressive"}
    with pytest.raises(InvalidRequest, match="unknown policy 'bold'"):
        policy_named("bold")
    assert model_from({**churn, "policy": "balanced"}).policy is POLICIES["balanced"]
    spec = model_from({**churn, "policy": {"triggers": ["drift"], "action": "full"}})
    assert spec.policy == RetrainingPolicy((Trigger.DRIFT,), Action.FULL)
    assert decode(type(spec), plain(spec)) == spec
    with pytest.raises(InvalidRequest, match="unknown field boldness"):
        model_from({**churn, "policy": {"boldness": 1}})


def test_metrics_are_read_by_name_and_as_attributes():
    result = OptimizationResult(new_metrics={"accuracy": 0.8})
    assert isinstance(result.new_metrics, Metrics)
    assert result.new_metrics.accuracy == result["new_metrics"]["accuracy"] == 0.8
    with pytest.raises(AttributeError, match="no metric 'f1'"):
        _ = result.new_metrics.f1
    assert "error" not in result
