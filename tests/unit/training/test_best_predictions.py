"""Predictions of the best trials are kept, in bounded memory, and equal those of a training of their own."""

from dataclasses import replace

import numpy as np

from optagent.domain.study import Trial, TrialState
from optagent.training.best_predictions import BestPredictions, keeps_predictions
from tests.unit.training.test_time_shares import PROBLEM, STUDY

THREE = replace(STUDY, kept_predictions=3)


def scored(number: int, score: float, c: float | None = None) -> Trial:
    return Trial(number, "linear", {"C": number if c is None else c}, TrialState.COMPLETE, score)


def parts(value: float) -> tuple[np.ndarray, ...]:
    return tuple(np.full(100, value) for _ in range(4))


def test_the_best_scores_are_kept_in_the_direction_of_the_metric():
    best = BestPredictions(THREE)
    for number, score in enumerate([0.7, 0.4, 0.6, 0.9, 0.5]):
        best.add(scored(number, score), parts(score))
    assert sorted(best.by_trial) == [1, 2, 4]
    assert best.by_trial[1][0].dtype == np.float32
    largest = BestPredictions(replace(THREE, maximize=True))
    for number, score in enumerate([0.7, 0.4, 0.6, 0.9]):
        largest.add(scored(number, score), parts(score))
    assert sorted(largest.by_trial) == [0, 2, 3]


def test_memory_is_bounded_whatever_was_asked_for():
    best = BestPredictions(replace(THREE, kept_predictions=1000), most_bytes=2 * 4 * 100 * 4)
    for number in range(10):
        best.add(scored(number, float(number)), parts(0.5))
    assert sorted(best.by_trial) == [0, 1]


def test_what_is_kept_is_a_copy():
    best, given = BestPredictions(THREE), parts(0.25)
    best.add(scored(0, 0.1), given)
    given[0][:] = 9.0
    assert best.by_trial[0][0][0] == 0.25


def test_trials_do_not_send_what_would_not_be_kept():
    assert not keeps_predictions(STUDY, PROBLEM)
    assert keeps_predictions(THREE, PROBLEM)
    assert not keeps_predictions(THREE, PROBLEM, most_bytes=3 * 400 * 4 - 1)
    assert not BestPredictions(STUDY).by_trial


def test_equals_are_kept_as_an_ensemble_takes_them_each_set_of_parameters_once_and_the_earlier_first():
    best = BestPredictions(THREE)
    for trial in [scored(0, 0.5, c=1.0), scored(1, 0.5, c=1.0), *(scored(number, 0.5) for number in (2, 3, 4))]:
        best.add(trial, parts(0.5))
    assert sorted(best.by_trial) == [0, 2, 3]
