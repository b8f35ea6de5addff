import math

import numpy as np
import pytest
from scipy.stats import norm

from optagent.domain.ledger import HoldoutLook
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.sequential.holdout_ledger import LEAST_RESAMPLED, alpha_of_look, resampled_alpha, widen_interval

NAN = float("nan")
LOOK = {"holdout": "d1", "candidate": "c1", "process_id": "p1", "at": 10.0, "alpha": 0.05}


def test_all_looks_that_will_ever_be_made_spend_no_more_than_alpha():
    numbers = np.arange(1, 200_001)
    total = sum(alpha_of_look(0.05, int(number)) for number in numbers[:2_000])
    assert total < 0.05
    rest = 0.05 * 6 / math.pi**2 / 2_000  # the integral of 1 / k² from 2,000 on bounds what is left
    assert total + rest == pytest.approx(0.05, abs=1e-7)


def test_each_look_gets_less_than_the_one_before():
    parts = [alpha_of_look(0.1, number) for number in range(1, 50)]
    assert parts == sorted(parts, reverse=True)
    assert parts[0] == pytest.approx(0.1 * 0.6079, abs=1e-5)


@pytest.mark.parametrize("number", [0, -1, 1.0, True, NAN, None])
def test_a_look_is_counted_from_one(number):
    with pytest.raises(InvalidRequest, match="the number of a look must be a whole number of at least 1"):
        alpha_of_look(0.05, number)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, NAN])
def test_an_alpha_that_is_no_chance_is_refused(alpha):
    with pytest.raises(InvalidRequest, match="alpha must be between 0 and 1"):
        alpha_of_look(alpha, 1)
    with pytest.raises(InvalidRequest, match="alpha must be between 0 and 1"):
        HoldoutLook(**{**LOOK, "alpha": alpha})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"holdout": ""}, "a look needs a holdout"),
        ({"candidate": None}, "a look needs a candidate"),
        ({"process_id": ""}, "a look needs a process_id"),
        ({"at": NAN}, "at must be a POSIX time"),
        ({"number": -1}, "number must be a whole number"),
    ],
)
def test_a_look_that_says_nothing_is_refused(change, message):
    with pytest.raises(InvalidRequest, match=message):
        HoldoutLook(**{**LOOK, **change})


def test_resamples_are_asked_for_what_they_can_tell_only():
    assert resampled_alpha(0.05) == 0.05
    assert resampled_alpha(1e-6) == LEAST_RESAMPLED


@pytest.mark.parametrize("alpha", [0.02, 0.001, 1e-6, 1e-12])
def test_an_interval_of_a_normal_law_is_widened_to_that_of_the_smaller_alpha(alpha):
    interval = widen_interval(Interval(1.0, 1 - norm.isf(0.01), 1 + norm.isf(0.01), 0.02), alpha)
    assert interval.low == pytest.approx(1 - norm.isf(alpha / 2))
    assert interval.high == pytest.approx(1 + norm.isf(alpha / 2))
    assert (interval.estimate, interval.alpha) == (1.0, alpha)


def test_an_interval_that_leans_is_never_narrower_on_either_side():
    for estimate in (0.9, 2.0, 3.1):  # the last two bounds are beyond the estimate: resampling is biased
        before = Interval(estimate, 1.0, 3.0, 0.02)
        after = widen_interval(before, 1e-4)
        assert after.low <= 1 - 0.6
        assert after.high >= 3 + 0.6


@pytest.mark.parametrize("alpha", [0.0, -1.0, 0.03, NAN])
def test_an_interval_cannot_be_made_narrower(alpha):
    with pytest.raises(InvalidRequest, match=r"alpha must be above 0 and at most 0\.02"):
        widen_interval(Interval(0.0, -1.0, 1.0, 0.02), alpha)
