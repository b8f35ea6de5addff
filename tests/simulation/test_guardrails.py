"""Guardrails keep their error rate where bad requests come alone and where they come in pauses, and find real harm."""

import numpy as np
import pytest
from scipy.stats import binom

from optagent.sequential.guardrail_test import guardrail

ALPHA, EVERY_S, RUNS, REQUESTS = 0.0025, 2.0, 40, 10_000
"""The risk that the default policy gives to one guardrail, and the time between requests."""


def pauses(seed, rows, rate, length):
    """Flags of that rate whose bad requests come in pauses of that mean length."""
    rng, values, place = np.random.default_rng(seed), np.zeros(rows), 0
    between = length * (1 - rate) / rate
    while place < rows:
        place += int(rng.exponential(between))
        pause = rng.geometric(1 / length)
        values[place : place + pause] = 1
        place += pause
    return values


def alarms(values, limit, alpha=ALPHA):
    """True where the guardrail ends a rollout whose looks come every 500 requests."""
    state, times = guardrail(limit), np.arange(len(values)) * EVERY_S
    for row in range(0, len(values), 500):
        state = state.after(values[row : row + 500], times[row : row + 500])
        if state.e_value >= 1 / alpha and state.rate > limit:
            return True
    return False


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.2])
def test_a_rate_at_the_limit_alarms_no_more_often_than_alpha(limit):
    rng = np.random.default_rng(0)
    runs = [alarms((rng.random(REQUESTS) < limit).astype(float), limit, 0.05) for _ in range(RUNS)]

    assert sum(runs) <= binom.ppf(0.999, RUNS, 0.05)


def test_values_between_0_and_1_at_the_limit_alarm_no_more_often_than_alpha():
    rng = np.random.default_rng(0)
    runs = [alarms(rng.beta(0.3, 0.7, 5_000), 0.3, 0.05) for _ in range(RUNS)]

    assert sum(runs) <= binom.ppf(0.999, RUNS, 0.05)


@pytest.mark.parametrize("length", [3, 10, 30])
@pytest.mark.parametrize(("limit", "rate"), [(0.05, 0.05), (0.05, 0.01), (0.01, 0.01), (0.01, 0.002)])
def test_pauses_whose_mean_keeps_the_limit_end_one_rollout_in_a_hundred_at_most(limit, rate, length):
    runs = [alarms(pauses(seed, REQUESTS, rate, length), limit) for seed in range(RUNS)]

    assert sum(runs) <= binom.ppf(0.999, RUNS, 0.01)


@pytest.mark.parametrize("length", [1, 3])
def test_three_times_the_limit_is_found(length):
    runs = [alarms(pauses(seed, REQUESTS, 0.15, length), 0.05) for seed in range(10)]

    assert all(runs)
