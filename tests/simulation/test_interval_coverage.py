"""Coverage of prediction intervals tenth by tenth: with drift, days, bursts and late labels, where split conformal
fails; and the alarm of too low a coverage."""

import numpy as np
import pytest

from optagent.conformal.coverage import measure_coverage
from tests.performance.decisions.intervals import (
    PASSES_A_DAY,
    STREAMS,
    run_intervals,
    stream_of,
    tenths_of,
    worst_tenth,
)
from tests.simulation.streams import DAY_S, day_effects

ROWS = 10_000


@pytest.mark.parametrize("late", ["once", "hours"])
@pytest.mark.parametrize("name", STREAMS)
def test_intervals_of_90_percent_cover_88_to_92_in_every_tenth(name, late):
    run = run_intervals(stream_of(name, late, seed=0), DAY_S / PASSES_A_DAY)
    tenths = tenths_of(run.tracked)
    slack = 0.01 if (name, late) == ("all", "hours") else 0.0  # what cannot be known before the labels come
    assert tenths.min() >= 0.88 - slack, tenths
    assert tenths.max() <= 0.92 + slack, tenths


@pytest.mark.parametrize("name", ["growing", "jumping", "days", "all"])
def test_split_conformal_does_not_where_the_stream_drifts(name):
    assert worst_tenth(1, name, is_split=True) > 5


@pytest.mark.parametrize("level", range(5))
def test_every_level_keeps_its_long_run_coverage(level):
    run = run_intervals(stream_of("all", "hours", 1, ROWS), DAY_S / PASSES_A_DAY)
    expected = (0.5, 0.8, 0.9, 0.95, 0.99)[level]
    assert abs(run.tracked[:, level].mean() - expected) < 0.01


def alarms(seed, spread=0.0, below=0.0, days=200, rows=150):
    """The days on which too low a coverage alarms, of days whose coverages vary by their own moods."""
    rng = np.random.default_rng(seed)
    share = np.clip(0.9 - below + spread * day_effects(rng, np.arange(days) * DAY_S), 0, 1)
    counts, alarmed = {}, 0
    for day, covered in enumerate(rng.binomial(rows, share).tolist()):
        counts[str(day)] = (rows, 0, 0, covered, 0, 0)
        coverage = measure_coverage(dict(list(counts.items())[-90:]))
        alarmed += coverage.p_value is not None and coverage.p_value < 1 / 90
    return alarmed


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_a_coverage_that_holds_alarms_less_often_than_one_day_in_ninety(spread):
    assert sum(alarms(seed, spread) for seed in range(10)) <= 10 * 200 / 90


def test_a_coverage_five_points_too_low_alarms_on_most_days():
    assert alarms(0, below=0.05) > 150
