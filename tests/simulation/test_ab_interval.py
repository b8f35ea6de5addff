import numpy as np
import pytest
from scipy.stats import binom

from optagent.errors import InvalidData
from optagent.sequential.ab_interval import count_matured_rows, first_rows_of_units, improvements, split_interval

ALPHA = 0.05
ROWS = 8_000
LOOKS = 8


def draw_ramp(rng):
    """(rows,) flags of the requests that the candidate gets while its share rises, and those shares."""
    share = np.repeat([0.1, 0.25, 0.5], [3_000, 2_000, 3_000])
    return rng.random(ROWS) < share, share


def intervals(values, candidate, share, units=None):
    """The interval at each look that has one."""
    for rows in range(len(values) // LOOKS, len(values) + 1, len(values) // LOOKS):
        units_so_far = None if units is None else units[:rows]
        interval = split_interval(values[:rows], candidate[:rows], share[:rows], ALPHA, ROWS, units_so_far)
        if interval is not None:
            yield interval


def ever_wrong(values, candidate, share, units=None):
    looks = list(intervals(values, candidate, share, units))
    assert len(looks) >= 3
    return any(each.low > 0 or each.high < 0 for each in looks)


def test_two_equal_versions_differ_no_more_often_than_alpha_while_shares_rise():
    wrong = plain = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        candidate, share = draw_ramp(rng)
        drifting = np.linspace(1.0, 3.0, ROWS)  # a plain difference of the arms' means would take it for harm
        loss = rng.gamma(5.0, drifting)
        wrong += ever_wrong(improvements(candidate, share, loss), candidate, share)
        plain += loss[candidate].mean() > 1.1 * loss[~candidate].mean()

    assert wrong <= binom.ppf(0.999, 100, ALPHA)
    assert plain == 100


def test_rows_of_a_small_share_do_not_hide_later_ones():
    rng = np.random.default_rng(1)
    share = np.repeat([0.05, 0.5], [6_000, 2_000])
    candidate = rng.random(ROWS) < share
    values = improvements(candidate, share, rng.normal(0, 1, ROWS))
    interval = split_interval(values, candidate, share, ALPHA, ROWS)
    later = split_interval(values[6_000:], candidate[6_000:], share[6_000:], ALPHA, ROWS)

    assert interval.high - interval.low < later.high - later.low


def test_the_improvement_is_found_without_bias():
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(100):
        candidate, share = draw_ramp(rng)
        loss = rng.normal(2.0, 1.0, ROWS) - 0.5 * candidate
        values = improvements(candidate, share, loss)
        estimates.append(split_interval(values, candidate, share, ALPHA, ROWS).estimate)

    assert np.mean(estimates) == pytest.approx(0.5, abs=4 * np.std(estimates) / 10)


def test_labels_that_come_sooner_when_they_are_bad_decide_nothing():
    wrong = hasty = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        candidate = rng.random(ROWS) < 0.5
        bad = rng.random(ROWS) < 0.3  # of both arms alike
        loss, share = bad.astype(float), np.full(ROWS, 0.5)
        delay = np.where(candidate & bad, 3_000, 100)  # the candidate's failures are heard of late
        values = improvements(candidate, share, loss)
        wrong += ever_wrong(values, candidate, share)
        arrived = np.flatnonzero(np.arange(ROWS) + delay <= 5_000)
        early_values = improvements(candidate[arrived], share[arrived], loss[arrived])
        interval = split_interval(early_values, candidate[arrived], share[arrived], ALPHA, ROWS)
        hasty += interval is not None and interval.low > 0

    assert wrong <= binom.ppf(0.999, 50, ALPHA)
    assert hasty == 50


def test_rows_count_up_to_the_first_that_has_not_matured():
    assert count_matured_rows(np.array([True, True, False, True])) == 2
    assert count_matured_rows(np.ones(3, dtype=bool)) == 3


def test_rows_of_one_key_are_not_taken_for_independent_ones():
    with_units = without = 0
    rows, keys = 40_000, 2_500
    share = np.full(rows, 0.5)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        units = rng.integers(0, keys, rows)
        candidate = (rng.random(keys) < 0.5)[units]
        loss = rng.normal(0, 2, keys)[units] + rng.normal(0, 1, rows)
        values = improvements(candidate, share, loss)
        with_units += ever_wrong(values, candidate, share, units)
        without += ever_wrong(values, candidate, share)

    assert with_units <= binom.ppf(0.999, 25, ALPHA) < without


def test_only_the_first_request_of_a_key_was_drawn():
    assert first_rows_of_units(np.array(["b", "a", "b", "c", "a"])).tolist() == [0, 1, 3]


@pytest.mark.parametrize("rows", [200, 3_000], ids=["few rows", "few of the candidate"])
def test_too_few_rows_of_an_arm_have_no_interval(rows):
    rng = np.random.default_rng(0)
    candidate = rng.random(rows) < 0.05

    assert split_interval(rng.normal(size=rows), candidate, np.full(rows, 0.05), ALPHA, ROWS) is None


def test_too_few_keys_have_no_interval():
    rng = np.random.default_rng(0)
    candidate, units, share = rng.random(ROWS) < 0.5, rng.integers(0, 50, ROWS), np.full(ROWS, 0.5)

    assert split_interval(rng.normal(size=ROWS), candidate, share, ALPHA, ROWS, units) is None
    assert split_interval(rng.normal(size=ROWS), candidate, share, ALPHA, ROWS) is not None


def test_what_cannot_be_weighed_is_refused():
    one = np.ones(1, dtype=bool)
    with pytest.raises(InvalidData, match=r"row 0 has 1\.0"):
        improvements(one, np.ones(1), np.ones(1))
    with pytest.raises(InvalidData, match="row 0 has nan"):
        improvements(one, np.full(1, 0.5), np.full(1, np.nan))
