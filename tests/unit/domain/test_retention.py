from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.model import CHAMPION, ModelVersion
from optagent.domain.process import Process, Status
from optagent.domain.retention import (
    DAY_S,
    MOST_AT_ONCE,
    RetentionFacts,
    RetentionPlan,
    RetentionRules,
    plan_retention,
    retention_rules,
)
from optagent.domain.rollout import Rollout, begin, promote
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidRequest

NOW = 2000 * DAY_S
RULES = RetentionRules(observations_s=100 * DAY_S, processes_s=50 * DAY_S, versions=2)


def version(number: int, *aliases: str, **tags: str) -> ModelVersion:
    return ModelVersion("churn", str(number), "digest", NOW - 1000 + number, aliases, tags=tags)


def versions(count: int, champion: int = 0) -> list[ModelVersion]:
    """The newest first."""
    return [version(number, *([CHAMPION] if number == champion else [])) for number in range(count, 0, -1)]


def process(name: str = "p", days_ago: float = 60, status: Status = Status.SUCCEEDED, kind: str = "tune") -> Process:
    at = NOW - days_ago * DAY_S
    return Process(name, kind, "churn", status, at, at)


def rollout(name: str, champion: int, candidate: int, days_ago: float = 60, ended: bool = True) -> Rollout:
    at = NOW - days_ago * DAY_S
    started = begin(name, "churn", str(champion), str(candidate), RolloutPolicy(), at, "ana")
    if not ended:
        return started
    over = promote(promote(started, "ana", "", at), "ana", "", at)
    return replace(over, settled=len(over.transitions))


def plan(rules: RetentionRules = RULES, **facts: Any) -> RetentionPlan:
    return plan_retention(RetentionFacts("churn", NOW, **facts), rules)


def test_rows_go_once_they_are_older_than_the_rule():
    assert plan().rows_before == NOW - 100 * DAY_S
    assert plan().training_before is None


def test_rows_that_windows_or_an_active_rollout_read_stay_and_the_reason_says_so():
    assert plan(window_s=60 * DAY_S).rows_before == NOW - 180 * DAY_S
    active = plan(rollouts=[rollout("r-1", 1, 2, days_ago=200, ended=False)])
    assert active.rows_before == NOW - 201 * DAY_S
    assert "r-1" in active.reasons[0]
    assert plan(rollouts=[rollout("r-1", 1, 2, days_ago=200)]).rows_before == NOW - 100 * DAY_S


def test_training_rows_go_by_whole_days_and_only_by_a_rule_of_their_own():
    rules = replace(RULES, training_rows_s=1.5 * DAY_S)
    assert plan(rules).training_before == NOW - 2 * DAY_S


def test_the_newest_versions_stay_and_so_do_those_in_use():
    facts = {
        "versions": [version(9), version(8), version(7), version(6, "challenger"), *versions(5, champion=4)],
        "routed": frozenset({"2"}),
        "rollouts": [rollout("r-2", 4, 7, ended=False), rollout("r-1", 1, 4)],
    }
    assert plan(**facts).versions == ("5", "3")  # not 4, the champion, nor 1, its predecessor by the rollouts
    assert plan(**{**facts, "rollouts": []}).versions == ("7", "5", "1")  # without rollouts that is the one before, 3


def test_the_measured_version_of_a_refit_that_stays_stays_too():
    refit = version(2, CHAMPION, measured_as="1")
    assert plan(versions=[*versions(6)[:4], refit, version(1)]).versions == ("4", "3")


def test_no_version_goes_while_a_process_has_not_ended():
    assert plan(versions=versions(9), is_busy=True).versions == ()
    assert plan(versions=versions(9)).versions == ("7", "6", "5", "4", "3", "2", "1")


def test_the_oldest_of_many_versions_go_first_and_a_bounded_number_at_once():
    gone = plan(versions=versions(500)).versions
    assert len(gone) == MOST_AT_ONCE
    assert gone[-1] == "1"


def test_ended_processes_go_once_they_are_old_and_their_versions_are_not_kept():
    assert plan(processes=[process("old"), process("new", days_ago=40)]).processes == ("old",)
    for status in (Status.QUEUED, Status.PENDING, Status.RUNNING):
        assert plan(processes=[process(status=status)]).processes == ()
    assert plan(processes=[process(status=Status.INTERRUPTED)]).processes == ("p",)
    assert plan(processes=[process()], versions=[version(1, process_id="p")]).processes == ()


def test_optimizations_stay_for_the_year_in_which_policies_count_them():
    assert plan(processes=[process(kind="optimize", days_ago=300)]).processes == ()
    assert plan(processes=[process(kind="optimize", days_ago=400)]).processes == ("p",)


def test_a_rollout_goes_after_its_candidate_but_never_the_newest_nor_one_that_is_active_or_not_settled():
    newest, old = rollout("newest", 1, 2), rollout("old", 1, 2)
    assert plan(rollouts=[newest, old]).rollouts == ("old",)
    assert plan(rollouts=[newest, old], versions=versions(2)).rollouts == ()
    assert plan(rollouts=[newest, rollout("new", 1, 2, days_ago=40)]).rollouts == ()
    assert plan(rollouts=[newest, replace(old, state=RolloutState.BAKING)]).rollouts == ()
    assert plan(rollouts=[newest, replace(old, settled=1)]).rollouts == ()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"observations_s": 3600.0}, "observations_s must be at least a day"),
        ({"processes_s": float("nan")}, "processes_s must be at least a day"),
        ({"training_rows_s": 0.0}, "training_rows_s must be at least a day"),
        ({"versions": 1}, "versions must be at least 2"),
    ],
)
def test_rules_that_would_lose_what_is_needed_are_refused(change, rule):
    with pytest.raises(InvalidRequest, match=rule):
        replace(RULES, **change)


def test_rules_are_made_of_settings():
    assert retention_rules("2d", "1w", 5, None) == RetentionRules(2 * DAY_S, 7 * DAY_S, 5)
    assert retention_rules("2d", "1w", 5, "10d").training_rows_s == 10 * DAY_S
