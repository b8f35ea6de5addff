"""A young window of labels that come late where they are bad, and labels that have become slower, counted in worlds."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from optagent.loop.observe.label_history import maturity_of
from tests.performance.decisions.labels import (
    MONITORING,
    SPEC,
    TRUE_ACCURACY,
    YoungWindow,
    alarm_days,
    days_to_slowing,
    history_at,
    requests_of,
    young_windows,
)
from tests.simulation.streams import DAY_S

RUNS = 15


@cache
def windows_of(weekly: bool) -> tuple[YoungWindow, ...]:
    return tuple(window for seed in range(RUNS) for window in young_windows(seed, weekly))


def bias_and_error(differences: list[float]) -> tuple[float, float]:
    return float(np.mean(differences)), float(np.std(differences)) / len(differences) ** 0.5


@pytest.mark.parametrize("weekly", [False, True], ids=["constant", "weekly"])
def test_a_delay_that_depends_on_the_outcome_does_not_bias_a_young_window(weekly):
    windows = windows_of(weekly)
    naive, _ = bias_and_error([window.naive.estimate - window.complete for window in windows])
    corrected, error = bias_and_error([window.corrected.estimate - window.complete for window in windows])

    assert naive > 0.045
    assert abs(corrected) <= 0.005 + 2 * error


@pytest.mark.parametrize("weekly", [False, True], ids=["constant", "weekly"])
def test_intervals_of_a_corrected_window_hold_the_truth(weekly):
    missed = sum(not one.corrected.low <= TRUE_ACCURACY <= one.corrected.high for one in windows_of(weekly))

    assert missed <= binom.ppf(0.999, len(windows_of(weekly)), 0.05)


def test_the_share_of_labels_that_have_come_is_right_although_one_request_in_five_never_gets_one():
    difference, error = bias_and_error([window.share - window.true_share for window in windows_of(False)])

    assert abs(difference) <= 0.01 + 2 * error


def test_a_window_is_no_longer_provisional_once_what_ever_comes_has_come():
    assert all(window.share >= 0.99 for window in young_windows(0, age_h=20 * 24.0))


def test_the_age_of_mature_labels_is_that_of_the_slowest_outcome():
    requests = requests_of(np.random.default_rng(1), 60, 600)
    _, maturity = maturity_of(history_at(requests, 60 * DAY_S), SPEC, MONITORING)

    assert maturity is not None
    assert maturity.ever == pytest.approx(0.8, abs=0.02)
    assert maturity.suggested_label_delay_s == pytest.approx(2 * DAY_S * np.log(100), rel=0.25)


def test_delays_that_double_are_found_within_a_week():
    assert days_to_slowing(2) <= 7


def test_delays_that_stay_raise_no_alarm():
    assert alarm_days(requests_of(np.random.default_rng(7), 85, 100), 45, 40) == []
