"""The test for labels that have become slower, on cohorts that are made up."""

import numpy as np
import pytest

from optagent.analysis.label_slowing import label_slowing
from optagent.domain.label_maturity import LabelCohort, LabelHistory

DAY = 86_400.0
ASKED = 90 * DAY


def history_of(shares, rows=300, spread=0.0, seed=0):
    """Cohorts of which such a share of the requests had a label by bin 100, and all by bin 200."""
    rng, cohorts = np.random.default_rng(seed), []
    for day, share in enumerate(shares):
        early = int(rng.binomial(rows, np.clip(share + spread * rng.standard_normal(), 0.01, 0.99)))
        cohorts.append(LabelCohort(day * DAY, rows, 250, ({100: early, 200: rows - early},)))
    return LabelHistory(DAY, ("any value",), cohorts=tuple(cohorts))


def test_a_day_far_below_the_usual_one_is_found():
    slowing = label_slowing(history_of([0.6] * 30 + [0.4]), None, ASKED)

    assert slowing.is_detected
    assert (slowing.share, slowing.usual_share) == (pytest.approx(0.4, abs=0.1), pytest.approx(0.6, abs=0.02))
    assert slowing.since == 30 * DAY


def test_a_week_a_little_below_is_found_where_no_day_of_it_is():
    assert not label_slowing(history_of([0.6] * 40 + [0.55], 300, seed=5), None, ASKED).is_detected
    slowing = label_slowing(history_of([0.6] * 40 + [0.52] * 7, 300, seed=5), None, ASKED)
    assert slowing.is_detected
    assert slowing.rows == 7 * 300


def test_a_day_that_differs_as_days_do_is_not_found():
    assert not label_slowing(history_of([0.6] * 30 + [0.45], spread=0.08, seed=1), None, ASKED).is_detected


def test_faster_labels_are_no_alarm():
    assert not label_slowing(history_of([0.5] * 30 + [0.9] * 3), None, ASKED).is_detected


def test_few_cohorts_are_compared_with_nothing():
    assert label_slowing(history_of([0.6] * 8), None, ASKED) is None
    assert label_slowing(LabelHistory(DAY, ("no", "yes")), None, ASKED) is None


def test_the_level_follows_the_false_alarms_that_are_tolerated():
    slowing = label_slowing(history_of([0.6] * 30), None, ASKED)

    assert slowing.level == pytest.approx(1 / 90)
    assert label_slowing(history_of([0.6] * 30), None, 2 * DAY).level == 0.05
