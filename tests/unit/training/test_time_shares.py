"""The time that is set aside for the steps after a search follows from what its trials have taken."""

import math
from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.domain.study import Study, Trial, TrialState
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem
from optagent.training.time_shares import (
    AfterSearch,
    TimeShares,
    Wave,
    best_trials,
    count_affordable,
    finish_seconds,
    fit_seconds,
    fits_another_wave,
    share_time,
    weighing_seconds,
)

ROWS = np.arange(400)
PROBLEM = Problem(
    Data(np.zeros((400, 1), np.float32), np.zeros(400), ("a",), Task.BINARY, n_classes=2),
    tuple(Fold(np.delete(ROWS, ROWS[k::4]), ROWS[k::4]) for k in range(4)),
)
STUDY = Study(
    study_id="s",
    model_id="m",
    task=Task.BINARY,
    metric="log_loss",
    maximize=False,
    spaces={"linear": family_named("linear").space(Task.BINARY)},
    defaults={},
)


def a_trial(number: int, score: float | None, seconds: float, state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, "linear", {}, state, score, units=81, duration_s=seconds)


def test_a_training_on_all_rows_costs_its_share_of_the_rows_of_all_folds():
    assert PROBLEM.fit_share == pytest.approx(1 / 3)
    assert fit_seconds(a_trial(0, 0.5, 6.0), PROBLEM) == pytest.approx(2.0)


def test_a_trial_that_was_stopped_early_is_trained_again_for_as_many_rounds_and_no_more():
    stopped = replace(a_trial(0, 0.5, 6.0, TrialState.PRUNED), units=3)
    assert share_time(AfterSearch(fits=1), STUDY, [stopped], PROBLEM, limit_s=60.0).fits_s == pytest.approx(2.0)


def test_time_is_set_aside_for_the_best_trial_and_not_for_the_slowest():
    trials = [a_trial(0, 0.7, 60.0), a_trial(1, 0.5, 3.0), a_trial(2, None, 90.0, TrialState.FAILED)]
    shares = share_time(AfterSearch(fits=2), STUDY, trials, PROBLEM, limit_s=60.0)
    assert shares == TimeShares(ensemble_s=0.0, fits_s=pytest.approx(2.0))
    assert shares.total_s == pytest.approx(2.0)


def test_the_baseline_takes_the_rounds_of_the_library_at_the_pace_of_the_trial_with_the_defaults():
    family = family_named("lightgbm")
    study = replace(STUDY, defaults={"lightgbm": {"num_leaves": 31}})
    best = replace(a_trial(0, 0.4, 3.0), family="lightgbm", params={"num_leaves": 7})
    default = replace(a_trial(1, 0.5, 6.0), family="lightgbm", params={"num_leaves": 31}, units=3)
    shares = share_time(AfterSearch(1, has_baseline=True), study, [best, default], PROBLEM, limit_s=600.0)
    pace_s = 2.0 / (3 * family.rounds_per_unit)
    assert shares.fits_s == pytest.approx(1.0 + pace_s * family.default_rounds)


def test_before_the_first_trial_nothing_is_known_and_nothing_set_aside():
    assert share_time(AfterSearch(2, 10), STUDY, [], PROBLEM, 60.0).total_s == 0.0


def test_an_ensemble_takes_the_trainings_of_its_members_and_a_third_of_the_limit_at_most():
    trials = [a_trial(number, 0.5, 3.0) for number in range(20)]
    cheap = share_time(AfterSearch(0, members=5), STUDY, trials, PROBLEM, 600.0)
    assert cheap.ensemble_s == pytest.approx(5.0 + weighing_seconds(PROBLEM, 5))
    dear = share_time(AfterSearch(0, members=20), STUDY, trials, PROBLEM, limit_s=30.0)
    assert dear.ensemble_s == 10.0
    alone = share_time(AfterSearch(0, members=20), STUDY, trials[:1], PROBLEM, limit_s=30.0)
    assert alone.ensemble_s == 0.0, "one model is no ensemble"


def test_a_bag_takes_its_models_fold_by_fold_and_on_all_rows_and_a_sixth_of_the_limit_at_most():
    trials = [a_trial(0, 0.5, 3.0)]
    cheap = share_time(AfterSearch(2, bag=5), STUDY, trials, PROBLEM, 600.0)
    assert cheap.bag_s == pytest.approx(5 * (2 * 3.0 + 2 * 1.0))
    assert share_time(AfterSearch(2, bag=5), STUDY, trials, PROBLEM, 60.0).bag_s == 10.0
    assert share_time(AfterSearch(2), STUDY, trials, PROBLEM, 600.0).bag_s == 0.0


def test_complete_trials_come_before_those_that_were_stopped():
    stopped, complete, worse = a_trial(0, 0.1, 1.0, TrialState.PRUNED), a_trial(1, 0.5, 1.0), a_trial(2, 0.6, 1.0)
    assert best_trials(STUDY, [stopped, worse, complete], 2) == [complete, worse]
    assert best_trials(replace(STUDY, maximize=True), [complete, worse], 1) == [worse]
    assert best_trials(STUDY, [stopped], 2) == [stopped]


def test_members_are_afforded_in_their_order():
    assert count_affordable([2.0, 2.0, 1.0], math.inf) == 3
    assert count_affordable([2.0, 2.0, 0.1], 3.0) == 1
    assert count_affordable([2.0], 0.0) == 0


def test_another_wave_needs_time_for_itself_and_for_the_models_of_all_rows():
    assert fits_another_wave(Wave(0.0, 0, 0.25), 2, left_s=0.1), "the first one is tried"
    assert not fits_another_wave(Wave(0.0, 0, 0.25), 2, left_s=0.0)
    assert fits_another_wave(Wave(4.0, 2, 0.25), 2, left_s=8.0)
    assert not fits_another_wave(Wave(4.0, 2, 0.25), 2, left_s=7.9)


def test_a_machine_that_was_slow_to_open_gets_more_time_to_close():
    assert finish_seconds(0.0, 600.0) == finish_seconds(1.0, 600.0)
    assert finish_seconds(60.0, 600.0) > finish_seconds(30.0, 600.0) > finish_seconds(1.0, 600.0)
    assert finish_seconds(1000.0, 600.0) == 150.0
