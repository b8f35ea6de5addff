import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.codec import decode, encode
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.guardrail_test import Guardrail, guardrail

EVERY_S = 2.0
ROLLOUT_ALPHA = 0.0025
"""What the default policy gives to one guardrail."""


def times(rows):
    return np.arange(rows) * EVERY_S


def flags(seed, rows, rate):
    return (np.random.default_rng(seed).random(rows) < rate).astype(float)


def evidence(values, limit):
    return guardrail(limit).after(values, times(len(values)))


def requests_to_alarm(values, limit, state=None, alpha=ROLLOUT_ALPHA):
    """The number of requests until the evidence for harm is enough while the rate is above the limit."""
    state = state or guardrail(limit)
    for row in range(0, len(values), 10):
        state = state.after(values[row : row + 10], 1e6 + times(len(values))[row : row + 10])
        if state.e_value >= 1 / alpha and state.rate > limit:
            return row + 10
    return len(values) + 1


def test_one_pause_of_a_hundred_requests_is_no_alarm():
    values = np.concatenate([np.zeros(1_000), np.ones(100), np.zeros(1_000)])

    assert requests_to_alarm(values, 0.05) > len(values)


def test_twice_the_limit_is_found_within_600_requests():
    assert np.median([requests_to_alarm(flags(seed, 1_500, 0.1), 0.05) for seed in range(7)]) <= 600


def test_five_times_the_limit_is_found_within_hundreds_of_requests():
    assert np.median([requests_to_alarm(flags(seed, 3_000, 0.05), 0.01) for seed in range(9)]) <= 700


def test_a_candidate_that_always_fails_is_found_though_it_might_be_one_long_pause():
    assert requests_to_alarm(np.ones(2_000), 0.01) <= 900


def test_a_candidate_that_fails_after_a_long_good_time_is_found_about_as_soon():
    good = evidence(flags(1, 50_000, 0.005), 0.01)

    assert good.e_value < 20
    assert requests_to_alarm(np.ones(2_000), 0.01, good) <= 900


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 1_000), max_size=6))
def test_rows_in_portions_say_what_all_rows_say_at_once(cuts):
    values, at = flags(3, 1_000, 0.05), times(1_000)
    state = guardrail(0.02)
    for part, moment in zip(np.split(values, sorted(cuts)), np.split(at, sorted(cuts)), strict=True):
        state = decode(Guardrail, encode(state.after(part, moment)))
    whole = guardrail(0.02).after(values, at)

    assert (state.rows, state.total, state.waiting) == (whole.rows, whole.total, whole.waiting)
    assert (state.log_k, state.log_peak) == pytest.approx((whole.log_k, whole.log_peak))


def test_an_alarm_stays_though_the_rate_falls_again():
    state = evidence(np.concatenate([np.ones(1_000), np.zeros(5_000)]), 0.01)

    assert state.log_k < state.log_peak
    assert state.e_value > 100


def test_endless_evidence_stays_a_number():
    assert evidence(np.ones(100_000), 0.01).e_value == pytest.approx(1e300)


def test_before_any_row_nothing_is_known():
    assert evidence(np.zeros(0), 0.01).e_value == 1
    assert guardrail(0.01).rate is None


def test_what_cannot_be_bet_on_is_refused():
    with pytest.raises(InvalidData, match="row 1 has nan"):
        guardrail(0.01).after(np.array([0.0, np.nan]), np.zeros(2))
    with pytest.raises(InvalidData, match="as many times"):
        guardrail(0.01).after(np.zeros(2), np.zeros(1))
    with pytest.raises(InvalidRequest, match="between 0 and 1, got 0"):
        guardrail(0)
