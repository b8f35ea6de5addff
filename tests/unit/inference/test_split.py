import numpy as np
import pytest
from scipy.stats import binom

from optagent.errors import InvalidData
from optagent.inference.split import first_of_unit, improvements, matured_rows, split_interval

ALPHA = 0.05
ROWS = 8_000
LOOKS = range(1_000, ROWS + 1, 1_000)


def ramped(rng):
    """Who gets the candidate while its share rises, and those shares."""
    share = np.repeat([0.05, 0.25, 0.5], [4_000, 2_000, 2_000])
    return rng.random(ROWS) < share, share


def ever_wrong(values, candidate, truth=0.0, units=None):
    for rows in LOOKS:
        seen = None if units is None else units[:rows]
        found = split_interval(values[:rows], candidate[:rows], ALPHA, ROWS, seen)
        if found is not None and not found.low <= truth <= found.high:
            return True
    return False


def test_two_equal_versions_differ_no_more_often_than_alpha_while_shares_rise():
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        candidate, share = ramped(rng)
        drifting = np.linspace(1.0, 3.0, ROWS)  # a plain difference of the arms' means would take it for harm
        wrong += ever_wrong(improvements(candidate, share, rng.exponential(drifting)), candidate)

    assert wrong <= binom.ppf(0.999, 100, ALPHA)


def test_the_improvement_is_found_without_bias():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        candidate, share = ramped(rng)
        loss = rng.exponential(2.0, ROWS) - 0.5 * candidate
        found.append(improvements(candidate, share, loss).mean())

    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 10)


def test_labels_that_come_sooner_when_they_are_bad_decide_nothing():
    wrong = hasty = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        candidate = rng.random(ROWS) < 0.5
        bad = rng.random(ROWS) < 0.3  # of both arms alike
        loss, share = bad.astype(float), np.full(ROWS, 0.5)
        delay = np.where(candidate & bad, 3_000, 100)  # the candidate's failures are heard of late
        values = improvements(candidate, share, loss)
        wrong += ever_wrong(values, candidate)
        arrived = np.flatnonzero(np.arange(ROWS) + delay <= 5_000)
        seen = improvements(candidate[arrived], share[arrived], loss[arrived])
        found = split_interval(seen, candidate[arrived], ALPHA, ROWS)
        hasty += found is not None and found.low > 0

    assert wrong <= binom.ppf(0.999, 50, ALPHA)
    assert hasty == 50


def test_rows_count_up_to_the_first_that_has_not_matured():
    assert matured_rows(np.array([True, True, False, True])) == 2
    assert matured_rows(np.ones(3, dtype=bool)) == 3


def test_rows_of_one_key_are_not_taken_for_independent_ones():
    with_units = without = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        units = rng.integers(0, 800, ROWS)
        candidate = (rng.random(800) < 0.5)[units]
        loss = rng.normal(0, 2, 800)[units] + rng.normal(0, 1, ROWS)
        values = improvements(candidate, np.full(ROWS, 0.5), loss)
        with_units += ever_wrong(values, candidate, units=units)
        without += ever_wrong(values, candidate)

    assert with_units <= binom.ppf(0.999, 60, ALPHA) < without


def test_only_the_first_request_of_a_key_was_drawn():
    assert first_of_unit(np.array(["b", "a", "b", "c", "a"])).tolist() == [0, 1, 3]


@pytest.mark.parametrize("rows", [200, 3_000], ids=["few rows", "few of the candidate"])
def test_too_few_rows_of_an_arm_have_no_interval(rows):
    rng = np.random.default_rng(0)
    candidate = rng.random(rows) < 0.05

    assert split_interval(rng.normal(size=rows), candidate, ALPHA, ROWS) is None


def test_too_few_keys_have_no_interval():
    rng = np.random.default_rng(0)
    candidate, units = rng.random(ROWS) < 0.5, rng.integers(0, 50, ROWS)

    assert split_interval(rng.normal(size=ROWS), candidate, ALPHA, ROWS, units) is None
    assert split_interval(rng.normal(size=ROWS), candidate, ALPHA, ROWS) is not None


def test_what_cannot_be_weighed_is_refused():
    one = np.ones(1, dtype=bool)
    with pytest.raises(InvalidData, match=r"row 0 has 1\.0"):
        improvements(one, np.ones(1), np.ones(1))
    with pytest.raises(InvalidData, match="row 0 has nan"):
        improvements(one, np.full(1, 0.5), np.full(1, np.nan))
