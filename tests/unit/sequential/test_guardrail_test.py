import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from optagent.codec import decode, encode
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.guardrail_test import Guardrail, guardrail

ALPHA = 0.05


def flags(seed, rows, rate):
    return (np.random.default_rng(seed).random(rows) < rate).astype(float)


def rows_to_alarm(state, seed, rate, most=5_000):
    """Rows of that rate until the evidence for harm is worth 1 / .01."""
    for row, value in enumerate(flags(seed, most, rate), 1):
        state = state.after(np.array([value]))
        if state.e_value >= 100:
            return row
    return most + 1


@pytest.mark.parametrize("limit", [0.01, 0.2])
def test_a_rate_at_the_limit_alarms_no_more_often_than_alpha_however_long(limit):
    alarms = sum(guardrail(limit).after(flags(seed, 20_000, limit)).e_value >= 1 / ALPHA for seed in range(200))

    assert alarms <= binom.ppf(0.999, 200, ALPHA)


def test_values_between_0_and_1_at_the_limit_alarm_no_more_often_than_alpha():
    rng = np.random.default_rng(0)
    alarms = sum(guardrail(0.3).after(rng.beta(0.3, 0.7, 5_000)).e_value >= 1 / ALPHA for _ in range(200))

    assert alarms <= binom.ppf(0.999, 200, ALPHA)


def test_a_candidate_that_always_fails_is_found_within_ten_requests():
    assert rows_to_alarm(guardrail(0.01), 0, 1.0) <= 10


def test_a_rate_of_five_times_the_limit_is_found_within_hundreds_of_rows():
    assert np.median([rows_to_alarm(guardrail(0.01), seed, 0.05) for seed in range(9)]) < 400


def test_a_candidate_that_fails_after_a_long_good_time_is_found_about_as_soon():
    good = guardrail(0.01).after(flags(1, 100_000, 0.005))

    assert good.e_value < 20
    assert rows_to_alarm(good, 2, 1.0) <= 40


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 1_000), max_size=6))
def test_rows_in_portions_say_what_all_rows_say_at_once(cuts):
    values = flags(3, 1_000, 0.05)
    state = guardrail(0.02)
    for part in np.split(values, sorted(cuts)):
        state = decode(Guardrail, encode(state.after(part)))
    whole = guardrail(0.02).after(values)

    assert (state.rows, state.total) == (whole.rows, whole.total)
    assert (state.log_k, state.log_peak) == pytest.approx((whole.log_k, whole.log_peak))


def test_an_alarm_stays_though_the_rate_falls_again():
    state = guardrail(0.01).after(np.ones(20)).after(np.zeros(5_000))

    assert state.log_k < state.log_peak
    assert state.e_value > 100


def test_endless_evidence_stays_a_number():
    assert guardrail(0.01).after(np.ones(100_000)).e_value == pytest.approx(1e300)


def test_before_any_row_nothing_is_known():
    assert guardrail(0.01).after(np.zeros(0)).e_value == 1
    assert guardrail(0.01).rate is None


def test_what_cannot_be_bet_on_is_refused():
    with pytest.raises(InvalidData, match="row 1 has nan"):
        guardrail(0.01).after(np.array([0.0, np.nan]))
    with pytest.raises(InvalidRequest, match="between 0 and 1, got 0"):
        guardrail(0)
