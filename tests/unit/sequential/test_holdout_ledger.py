import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.sequential.holdout_ledger import (
    FIRST_SHARE,
    LEAST_RESAMPLED,
    YEAR_S,
    alpha_of_look,
    resampled_alpha,
    share_of_look,
    widen_interval,
)
from optagent.sequential.row_sample import sample_rows

NAN = float("nan")
LOOK = {"holdout": "d1", "candidate": "c1", "process_id": "p1", "at": 10.0, "alpha": 0.05}


WEEK_S = 7 * 86_400.0


def a_look(at=10.0, first_row=0, rows=100, **change):
    times = np.arange(first_row, first_row + rows, dtype=np.float64)
    return HoldoutLook(**{**LOOK, "at": at, "model_id": "m1", "sample": sample_rows(times % 2, times), **change})


def make_looks(ats, first_row_of=lambda place: 0, verdict_of=lambda place: Verdict.INCONCLUSIVE):
    """The looks of one line at these times, each with the share that it gets."""
    looks = []
    for place, at in enumerate(ats):
        look = a_look(at, first_row_of(place), verdict=verdict_of(place))
        looks.append(replace(look, share=share_of_look(looks, look)))
    return looks


def test_the_looks_of_a_line_spend_k_of_k_plus_nine_parts_and_the_tenth_a_quarter_of_the_first():
    shares = [look.share for look in make_looks(np.arange(100) * 3600.0)]
    assert shares[0] == FIRST_SHARE
    assert np.cumsum(shares) == pytest.approx(np.arange(1, 101) / np.arange(10, 110))
    assert shares[9] / shares[0] > 0.25


@pytest.mark.parametrize("gap", [86_400.0, WEEK_S, 30 * 86_400.0])
def test_the_looks_of_any_year_spend_one_risk_at_most_even_on_rows_that_are_always_new(gap):
    looks = make_looks(np.arange(0, 3 * YEAR_S, gap)[:160], lambda place: 100 * place)
    for last in looks:
        assert sum(look.share for look in looks if 0 <= last.at - look.at < YEAR_S) <= 1 + 1e-6


def test_looks_at_the_same_rows_spend_one_risk_for_ever():
    looks = make_looks(np.arange(0, 8 * YEAR_S, 2 * WEEK_S))
    assert sum(look.share for look in looks) <= 1


def test_a_year_later_rows_that_are_new_have_a_risk_of_their_own_and_half_new_ones_half_of_it_back():
    year = make_looks(np.arange(52) * WEEK_S)
    whole, half, none = (share_of_look(year, a_look(3 * YEAR_S, first_row=row)) for row in (100, 50, 0))
    assert whole == FIRST_SHARE
    assert none < half < whole


def test_one_row_more_is_not_a_new_holdout():
    year = make_looks(np.arange(52) * WEEK_S)
    same, longer = (share_of_look(year, a_look(3 * YEAR_S, rows=rows)) for rows in (100, 101))
    assert longer < 1.1 * same


def test_a_proof_gives_the_risk_back():
    looks = make_looks(np.arange(5) * WEEK_S, verdict_of=lambda place: Verdict.PASS if place == 3 else None)
    assert [look.share == FIRST_SHARE for look in looks] == [True, False, False, False, True]


@pytest.mark.parametrize("change", [{"compares": False}, {"share": 0.0}, {"verdict": Verdict.FAIL}])
def test_a_pass_that_proves_nothing_gives_nothing_back(change):
    spent = a_look(share=0.5)
    after = replace(a_look(share=0.1, verdict=Verdict.PASS), **change)
    assert share_of_look([spent, after], a_look(20.0)) < FIRST_SHARE / 1.9


def test_a_filter_spends_nothing_and_counts_for_nothing():
    filters = [a_look(share=0.0, verdict=Verdict.PASS) for _ in range(50)]
    assert share_of_look(filters, a_look(20.0)) == FIRST_SHARE


def test_a_look_for_which_nothing_is_left_has_a_share_that_is_no_chance_any_more():
    assert 0 < share_of_look([a_look(share=0.9), a_look(share=0.9)], a_look()) < 1e-6


def test_all_looks_at_one_holdout_spent_no_more_than_alpha_by_their_number():
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
        ({"share": 1.5}, "share must be between 0 and 1"),
        ({"share": NAN}, "share must be between 0 and 1"),
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


@pytest.mark.parametrize("freedom", [20.0, 59.0])
def test_an_interval_whose_spread_was_estimated_is_widened_to_that_of_students_law(freedom):
    interval = widen_interval(Interval(1.0, 1 - norm.isf(0.05), 1 + norm.isf(0.05), 0.1), 0.01, freedom)
    assert interval.low == pytest.approx(1 - student.isf(0.005, freedom))


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
