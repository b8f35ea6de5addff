"""Realised coverage: judged on the newest days, and by fewer rows than there are where days differ."""

import numpy as np

from optagent.conformal.coverage import measure_coverage


def days(covered, rows=200):
    return {str(day): (rows, 0, 0, int(count), 0, 0) for day, count in enumerate(covered)}


def test_without_outcomes_there_is_no_coverage():
    assert measure_coverage({}) is None


def test_of_few_outcomes_the_share_is_told_and_nothing_is_judged():
    coverage = measure_coverage(days([40], rows=50))
    assert (coverage.rows, coverage.shares[2], coverage.p_value) == (50, 0.8, None)


def test_only_the_newest_week_counts():
    coverage = measure_coverage(days([100] * 30 + [180] * 7))
    assert coverage.rows == 1_400
    assert coverage.shares[2] == 0.9
    assert coverage.p_value > 0.4


def test_a_week_far_below_the_level_is_seen():
    rng = np.random.default_rng(0)
    counts = [*rng.binomial(200, 0.9, 30), *rng.binomial(200, 0.8, 7)]
    assert measure_coverage(days(counts)).p_value < 1e-6


def test_days_that_differ_alarm_later():
    alike = measure_coverage(days([180] * 20 + [172] * 7)).p_value
    moods = measure_coverage(days([195, 165] * 10 + [172] * 7)).p_value
    assert alike < 0.01 < moods
