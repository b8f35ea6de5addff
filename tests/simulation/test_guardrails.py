"""Guardrails keep their error rate where bad requests come alone and where they come in pauses, and find real harm."""

import numpy as np
import pytest
from scipy.stats import binom

from optagent.sequential.guardrail_test import guardrail
from tests.performance.decisions.guardrails import false_alarms, requests_to_alarm

RUNS = 30


@pytest.mark.parametrize("length", [1, 3, 10, 30])
@pytest.mark.parametrize(("limit", "rate"), [(0.05, 0.05), (0.05, 0.01), (0.01, 0.01), (0.01, 0.002)])
def test_pauses_whose_mean_keeps_the_limit_end_one_rollout_in_a_hundred_at_most(
    limit: float, rate: float, length: float
) -> None:
    assert false_alarms(RUNS, limit, rate, length) * RUNS <= binom.ppf(0.999, RUNS, 0.01)


def test_values_between_0_and_1_at_the_limit_alarm_no_more_often_than_alpha() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(RUNS):
        state = guardrail(0.3).after(rng.beta(0.3, 0.7, 5_000), np.arange(5_000) * 2.0)
        alarms += state.e_value >= 1 / 0.05

    assert alarms <= binom.ppf(0.999, RUNS, 0.05)


def test_twice_the_limit_is_found_within_600_requests() -> None:
    assert requests_to_alarm(RUNS, 0.05, 0.1, 1) <= 600


@pytest.mark.parametrize("length", [1, 3])
def test_three_times_the_limit_is_found(length: float) -> None:
    assert np.isfinite(requests_to_alarm(10, 0.05, 0.15, length))
