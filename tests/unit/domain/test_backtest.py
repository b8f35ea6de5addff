"""Backtests: valid requests, policies by name, and counts of runs and periods."""

import math
from typing import Any

import pytest

from optagent.codec import plain
from optagent.domain.backtest import (
    BacktestAsk,
    BacktestResult,
    Contender,
    contender_named,
    parse_date,
    parse_start,
    policy_fields,
)
from optagent.domain.policy import POLICIES, Action, RetrainingPolicy, Trigger
from optagent.domain.policy_run import Period, ReplayedRun, count_runs
from optagent.errors import InvalidRequest


def run(at: float, version: str | None = "2", promoted: bool = False, **more: Any) -> ReplayedRun:
    return ReplayedRun(
        at, "schedule", "it was time", "success" if promoted else "rejected", None, version, promoted, **more
    )


def test_doing_nothing_is_always_compared() -> None:
    ask = BacktestAsk((contender_named("balanced"),), "5d")
    assert [one.name for one in ask.policies] == ["never", "balanced"]
    assert ask.delay_s == 5 * 86_400


def test_doing_nothing_is_not_compared_twice() -> None:
    ask = BacktestAsk((contender_named("balanced"), contender_named("never")), "5d")
    assert [one.name for one in ask.policies] == ["balanced", "never"]


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_is_known_by_its_name(name: str) -> None:
    assert contender_named(name).policy == POLICIES[name]


def test_a_schedule_is_gated_or_not() -> None:
    gated, classic = contender_named("scheduled:30d"), contender_named("scheduled-ungated:30d")
    assert gated.policy is not None
    assert classic.policy is not None
    assert (gated.ungated, classic.ungated) == (False, True)
    assert gated.policy.triggers == classic.policy.triggers == (Trigger.SCHEDULE,)
    assert classic.policy.gates == {"beats_champion": False}
    assert gated.promotes
    assert classic.promotes


def test_a_schedule_of_hours_may_run_as_often_as_it_says() -> None:
    policy = contender_named("scheduled-ungated:6h").policy
    assert policy is not None
    assert policy.cooldown == "6h"
    assert policy.most_a_year >= 4 * 365


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sometimes", "unknown policy 'sometimes'; one of"),
        ("scheduled", "unknown policy"),
        ("scheduled:", "is not a duration"),
        ("scheduled:monthly", "'monthly' is not a duration"),
        ("scheduled-ungated:1m", "at least an hour"),
        ("", "unknown policy ''"),
    ],
)
def test_an_unknown_policy_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        contender_named(name)


def test_a_policy_that_leaves_it_to_people_promotes_nothing() -> None:
    assert not Contender("mine", RetrainingPolicy(action=Action.CANDIDATE)).promotes
    assert Contender("mine", RetrainingPolicy(action=Action.SHADOW)).promotes


def test_a_name_without_a_policy_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="only 'never' goes without a policy"):
        Contender("mine")
    with pytest.raises(InvalidRequest, match="the name of doing nothing"):
        Contender("never", RetrainingPolicy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_delay": "soon"}, "'soon' is not a duration"),
        ({"step": "1s"}, "step must be at least 1m, got '1s'"),
        ({"start": 0.0}, "start must be a share"),
        ({"start": 1.0}, "start must be a share"),
        ({"start": math.nan}, "start must be a share"),
        ({"start": True}, "start must be a share"),
        ({"start": "yesterday"}, "neither a share of the rows"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"trials": 0}, "trials must be a whole number of at least 1, got 0"),
        ({"trials": 2.5}, "trials must be a whole number"),
        ({"policies": (contender_named("balanced"),) * 2}, "named twice: balanced"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        BacktestAsk(**{"policies": (), "label_delay": "1d", **changes})


def test_a_start_is_a_share_or_a_date() -> None:
    assert parse_start("0.5") == 0.5
    assert parse_date("1970-01-02") == 86_400
    assert parse_date("1970-01-02T01:00:00+01:00") == 86_400


def test_runs_are_counted_by_what_came_of_them() -> None:
    runs = [run(1, promoted=True, trials=3, compute_s=2.0), run(2), run(3, version=None)]
    counts = count_runs(runs, [], 0.8, True, 0.05, 0.0)
    assert (counts.optimizations, counts.retrains, counts.promoted, counts.rejected) == (3, 2, 1, 1)
    assert (counts.trials, counts.compute_s) == (3, 2.0)


@pytest.mark.parametrize(("at", "missed"), [(5.0, 0), (12.0, 0), (14.0, 1), (-1.0, 1)])
def test_a_bad_period_is_missed_where_nothing_runs_within_the_cooldown(at: float, missed: int) -> None:
    periods = [Period(0, 10, 100, "1", 0.6), Period(10, 20, 100, "1", 0.8)]
    counts = count_runs([run(at)], periods, 0.8, True, 0.05, cooldown_s=3.0)
    assert (counts.bad_periods, counts.missed) == (1, missed)


def test_a_period_is_not_judged_by_a_few_rows_or_an_undefined_metric() -> None:
    periods = [Period(0, 10, 49, "1", 0.1), Period(10, 20, 100, "1", None)]
    assert count_runs([], periods, 0.8, True, 0.05, 0.0).bad_periods == 0


def test_an_error_that_grows_is_bad_and_one_that_falls_is_not() -> None:
    periods = [Period(0, 10, 100, "1", 1.2), Period(10, 20, 100, "1", 0.5)]
    assert count_runs([], periods, 1.0, False, 0.1, 0.0).bad_periods == 1


def test_a_result_says_which_policies_it_knows() -> None:
    with pytest.raises(InvalidRequest, match=r"no policy 'x' in this backtest; one of \[\]"):
        BacktestResult(model_id="m").run("x")


def test_a_refused_result_is_an_error_alone() -> None:
    assert plain(BacktestResult(model_id="m", error="no"))["error"] == "no"
    assert "recommended" not in BacktestResult(model_id="m")


@pytest.mark.parametrize(
    "content", [None, [], "text", {}, {"policy": None}], ids=["nothing", "list", "text", "empty", "null"]
)
def test_a_file_that_holds_no_policy_is_refused(content: Any) -> None:
    with pytest.raises(InvalidRequest, match="holds the fields of a policy"):
        policy_fields(content)


def test_a_policy_file_may_name_what_it_holds() -> None:
    assert policy_fields({"policy": {"every": "1d"}}) == policy_fields({"every": "1d"}) == {"every": "1d"}
