"""Coverage replayed on a holdout: its start, the labels that it follows, and what counts as too little or too much."""

import numpy as np
import pytest

from optagent.conformal.holdout_coverage import replay_coverage
from optagent.domain.model import Task
from optagent.errors import InvalidData


def distances(rows=1_000, jump=1.0):
    scores = np.abs(np.random.default_rng(3).standard_normal(rows))
    scores[rows // 2 :] *= jump
    return scores


def replay(scores, delay=0.0, times=None):
    return replay_coverage(Task.REGRESSION, scores, times, delay)


def test_intervals_of_rows_that_stay_alike_cover_their_level():
    coverage = replay(distances())
    assert (coverage.rows, coverage.started_from) == (500, 500)
    assert abs(coverage.coverage.estimate - 0.9) < 0.02
    assert coverage.coverage.low < 0.9 < coverage.coverage.high
    assert min(coverage.p_low, coverage.p_high) > 0.1


def test_late_labels_leave_a_jump_uncovered_which_labels_at_once_do_not():
    times = np.arange(1_000.0)
    late, at_once = (replay(distances(jump=3.0), delay, times) for delay in (2_000.0, 0.0))
    assert late.coverage.estimate < 0.5
    assert late.p_low < 1e-4
    assert abs(at_once.coverage.estimate - 0.9) < 0.02


def test_late_labels_leave_smaller_errors_covered_too_often():
    coverage = replay(distances(jump=0.3), 2_000.0, np.arange(1_000.0))
    assert coverage.inside > 0.99
    assert coverage.p_high < 0.005 < coverage.p_low


def test_rows_of_one_time_do_not_know_each_others_labels():
    together = replay(distances(jump=3.0), 0.0, np.repeat([0.0, 1.0], 500))
    assert together.coverage.estimate < 0.5


def test_ties_at_the_threshold_are_not_inside():
    scores = np.ones(1_000)
    scores[::50] = 5.0
    coverage = replay(scores, 2_000.0, np.arange(1_000.0))
    assert coverage.coverage.estimate == 0.98
    assert coverage.inside == 0.0


def test_the_same_rows_give_the_same_coverage():
    assert replay(distances()) == replay(distances())


def test_scores_that_are_no_numbers_are_refused():
    scores = distances()
    scores[3] = np.nan
    with pytest.raises(InvalidData, match="100 labelled rows"):
        replay(scores)
