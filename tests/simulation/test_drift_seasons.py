"""Drift with hours, days and weeks: what only comes round again raises no alarm, and does not hide a shift."""

from dataclasses import replace

import pytest
from scipy.stats import poisson

from tests.performance.decisions.drift import (
    World,
    drifted_windows,
    false_alarms,
    independent,
    remembering,
    windows_to_alarm,
    with_days,
    with_hours,
    with_seasons,
    with_weekends,
)

SMALL = {"columns": 8, "live_days": 45}


@pytest.mark.parametrize("days", [7, 14, 30])
def test_a_weekend_is_no_drift_however_short_the_reference(days):
    world = World(with_weekends, days, **SMALL)
    assert false_alarms(world)(2) * 2 * 45 / 90 <= poisson.ppf(0.995, 2 * 2 * 45 / 90)


@pytest.mark.parametrize(("phi", "days"), [(0.7, 60), (0.9, 60), (0.97, 60), (0.9, 30)])
def test_days_that_differ_and_last_are_no_drift(phi, days):
    world = World(with_days(0.3, phi), days, **SMALL)
    assert sum(sum(drifted_windows(world, seed)) for seed in range(3)) <= poisson.ppf(0.995, 2 * 3 * 45 / 90)


@pytest.mark.parametrize("column", [independent, remembering(0.99), with_hours])
def test_rows_that_repeat_each_other_are_no_drift(column):
    assert false_alarms(World(column, **SMALL))(1) <= poisson.ppf(0.995, 1)


def test_windows_of_a_week_are_held_to_the_same_budget():
    world = World(with_days(0.3, 0.9), window_days=7, live_days=182, columns=8)
    assert false_alarms(world)(1) <= 2


@pytest.mark.parametrize(
    ("column", "days", "shift", "most"),
    [
        (with_hours, 60, 0.5, 5),
        (with_weekends, 60, 0.25, 5),
        (with_seasons, 365, 1.0, 5),
        (independent, 60, 0.25, 3),
        (independent, 14, 0.5, 5),
    ],
)
def test_a_lasting_shift_is_found_within_a_few_windows(column, days, shift, most):
    world = World(column, days, live_days=10, shift=shift, columns=8)
    assert windows_to_alarm(world)(3) <= most


def test_shifts_too_small_for_one_window_add_up():
    world = World(independent, live_days=20, shift=0.15, columns=8)
    first = windows_to_alarm(world)(5)
    assert 2 <= first <= 12
    assert windows_to_alarm(replace(world, shift=0.0))(2) > 12
