"""A rollout of the default policy, suited to the model's traffic, ends in time at every rate of labelled requests."""

import pytest
from scipy.stats import binom

from optagent.domain.rollout_policy import RolloutPolicy, Traffic, suit_policy
from tests.performance.decisions.rollouts import SUPERIOR, days_alike, independent, promoted, promoted_in_time, proofs

RUNS = 10
RATES = [5, 300, 5_000]


@pytest.mark.parametrize("rows_a_day", RATES)
def test_a_candidate_3_percent_better_is_promoted_in_time(rows_a_day: float) -> None:
    assert promoted_in_time(RUNS, rows_a_day, 0.03) * RUNS >= binom.ppf(0.01, RUNS, 0.9)


@pytest.mark.parametrize("rows_a_day", RATES)
def test_a_candidate_10_percent_better_is_promoted_in_a_third_of_that(rows_a_day: float) -> None:
    assert promoted_in_time(RUNS, rows_a_day, 0.1, 1 / 3) * RUNS >= binom.ppf(0.01, RUNS, 0.9)


@pytest.mark.parametrize("rows_a_day", [48, 1_000])
def test_an_equal_candidate_is_promoted_no_more_often_than_alpha_where_superiority_is_asked(rows_a_day: float) -> None:
    assert promoted(RUNS, rows_a_day, independent) * RUNS <= binom.ppf(0.999, RUNS, SUPERIOR.alpha)


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_days_on_which_the_candidate_is_lucky_promote_no_more_often_than_twice_alpha(spread: float) -> None:
    assert promoted(RUNS, 500, days_alike(spread)) * RUNS <= binom.ppf(0.999, RUNS, 2 * SUPERIOR.alpha)


def test_rows_of_the_gate_count_for_the_very_model_that_was_gated() -> None:
    assert proofs(RUNS, 0.02, 1_300, 3_000) * RUNS >= binom.ppf(0.01, RUNS, 0.8)
    assert proofs(RUNS, 0.0, 1_300, 3_000) * RUNS <= binom.ppf(0.999, RUNS, 0.05)


def test_the_demands_of_a_policy_that_somebody_chose_stay() -> None:
    chosen = {"min_rows": 500}
    policy = suit_policy(RolloutPolicy(min_rows=500), Traffic(48), chosen)

    assert policy.min_rows == 500
