"""Interval trackers: they start by split conformal, keep their coverage on any sequence, and repeat bit for bit."""

import json

import numpy as np
import pytest

from optagent.conformal.tracker import LEAST_SCORES, MOST_SCORES, IntervalTracker
from optagent.domain.model import Task
from optagent.domain.prediction_interval import LEVELS
from optagent.errors import InvalidData


def normal_scores(rows, seed=0, scale=1.0):
    return np.abs(np.random.default_rng(seed).normal(0, scale, rows))


def misses(tracker, scores, batch=1):
    """The share of rows that each level missed, where labels come after every batch."""
    missed = np.zeros(len(LEVELS))
    for start in range(0, len(scores), batch):
        part, served = scores[start : start + batch], tracker.thresholds
        missed += (part[:, None] > served).sum(axis=0)
        tracker.learn(part, np.tile(served, (len(part), 1)), len(part))
    return missed / len(scores)


@pytest.mark.parametrize("rows", [LEAST_SCORES, 137, 10 * MOST_SCORES])
def test_it_starts_from_the_conformal_rank_of_the_holdout(rows):
    scores = normal_scores(rows)
    ranks = [int(np.ceil((rows + 1) * level)) for level in LEVELS]
    expected = np.sort(scores)[np.array(ranks) - 1]
    np.testing.assert_allclose(IntervalTracker(Task.REGRESSION, scores).thresholds, expected)


def test_too_small_a_holdout_is_refused_with_the_way_out():
    with pytest.raises(InvalidData, match=r"at least 100 labelled rows of the holdout, got 99.*holdout_fraction"):
        IntervalTracker(Task.REGRESSION, normal_scores(99))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_the_unit_of_the_target_does_not_matter(unit):
    tracker = IntervalTracker(Task.REGRESSION, normal_scores(300) * unit)
    share = misses(tracker, normal_scores(1_200, seed=1, scale=3.0) * unit)
    np.testing.assert_allclose(share, 1 - np.array(LEVELS), atol=0.03)


ROWS = 1_500
SEQUENCES = {
    "growing": np.exp(np.arange(ROWS) / 300.0),
    "shrinking": np.exp(-np.arange(ROWS) / 300.0),
    "jumps": np.where(np.arange(ROWS) // 150 % 2, 50.0, 0.2) * (1 + normal_scores(ROWS)),
    "just above the threshold": np.where(np.arange(ROWS) % 400 < 200, 0.01, np.inf),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_share_of_misses_is_within_its_bound_on_sequences_that_nobody_believes_in(name):
    tracker = IntervalTracker(Task.REGRESSION, normal_scores(300))
    missed, places = np.zeros(len(LEVELS)), []
    for number in SEQUENCES[name].tolist():
        served = tracker.thresholds
        score = np.array([min(number, served[2] * 1.01, 100.0) if number == np.inf else number])
        missed += score > served
        places.append(float(tracker.places(score)[0]))
        tracker.learn(score, served[None], 1)
    bound = (np.ptp([*places, np.log(3.0)]) + 4) * 11 / ROWS  # a step is an eleventh
    assert np.abs(missed / ROWS - (1 - np.array(LEVELS))).max() <= bound < 0.11


def test_levels_never_cross():
    tracker = IntervalTracker(Task.REGRESSION, normal_scores(200))
    for seed in range(50):
        served = tracker.thresholds
        assert (np.diff(served) >= 0).all()
        tracker.learn(normal_scores(40, seed, scale=10.0 ** (seed % 5)), np.tile(served, (40, 1)), 40)


def test_after_rows_that_were_all_certain_it_comes_back_at_once():
    tracker = IntervalTracker(Task.BINARY, np.concatenate([np.zeros(50), np.full(60, 0.6)]))
    misses(tracker, np.zeros(1_000), batch=10)
    assert misses(tracker, np.full(300, 0.8))[2] < 0.15


def test_a_set_may_hold_every_label_where_labels_are_noise():
    tracker = IntervalTracker(Task.BINARY, np.full(200, 0.3))
    misses(tracker, np.full(500, 1.0))
    assert tracker.thresholds[-1] == 1.0


def test_late_labels_make_smaller_steps():
    early, late = (IntervalTracker(Task.REGRESSION, normal_scores(1_000)) for _ in range(2))
    scores, served = np.full(50, 1e3), np.tile(early.thresholds, (50, 1))
    early.learn(scores, served, 50)
    late.learn(scores, served, 5_000)
    assert late.corrections[2] < early.corrections[2] < 1.0


def test_the_state_survives_json_and_repeats_bit_for_bit():
    tracker = IntervalTracker(Task.REGRESSION, normal_scores(300))
    misses(tracker, normal_scores(200, seed=1))
    copy = IntervalTracker.from_plain(json.loads(json.dumps(tracker.to_plain())))
    for each in (tracker, copy):
        misses(each, normal_scores(100, seed=2), batch=7)
    assert json.dumps(copy.to_plain()) == json.dumps(tracker.to_plain())
