"""The running detector and the triggers beside it on rows of many days: false alarms as asked for, and power."""

import numpy as np
import pytest
from scipy.stats import binom, poisson

from tests.performance.decisions.detector import DAILY, FALSE, RISE, SMALL_RISE, falls_ratio, runs_ratio

YEARS_PROMISED = 360 / 90


@pytest.mark.parametrize("name", ["iid", "ar9", "daily", "week", "week-4", "thinned", "thinned-old"])
def test_false_alarms_come_about_as_often_as_asked_for(name):
    runs = 16
    ratio = FALSE[name][1].ratio(runs)

    promised = runs * (1.0 if name.startswith("thinned") else YEARS_PROMISED)  # false alarms of as many runs
    assert ratio * promised <= poisson.ppf(0.999, 1.5 * promised)
    assert ratio * promised >= poisson.ppf(0.001, 0.5 * promised)


def test_a_rise_of_twelve_percent_is_found_in_two_weeks_at_a_hundred_rows_a_day():
    assert DAILY(RISE).median_days(25) <= 15


def test_a_rise_of_six_percent_is_found_in_most_quarters_of_a_year():
    runs = 30

    assert DAILY(SMALL_RISE).share_found(runs) * runs >= binom.ppf(0.001, runs, 0.7)


@pytest.mark.parametrize(("memory", "window_days"), [(0.0, 1), (0.9, 1), (0.9, 7)])
def test_windows_without_a_change_are_called_degraded_as_seldom_as_asked_for(memory, window_days):
    runs = 8

    assert falls_ratio(40, memory, window_days, runs) * runs <= poisson.ppf(0.999, 1.3 * runs)


def test_a_year_without_a_change_starts_no_more_runs_than_promised():
    years = 3
    promised = 3 * 365 / 90 * years

    for memory in (0.0, 0.9):
        assert runs_ratio(memory, 168.0, years) * promised <= poisson.ppf(0.999, 1.3 * promised)


def test_the_alarms_of_a_run_are_in_order_and_after_its_start():
    times, watched_s = FALSE["iid"][1].alarms(0)

    assert watched_s > 0
    assert (np.diff([0.0, *times]) > 0).all()
