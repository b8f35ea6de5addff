"""A trial that was stopped early is worth what its last rung makes likely, not what it showed there."""

import json
import math
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from optagent.adapters.search.trial_values import MEASURED, values_of

UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def ended_trial(value: float | None, at_rungs: dict[int, float] | None = None) -> FrozenTrial:
    state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    return create_trial(state=state, value=value, intermediate_values=at_rungs or {})


def several(values: list[float] | None, at_rungs: dict[int, list[float]] | None = None) -> FrozenTrial:
    state = TrialState.PRUNED if values is None else TrialState.COMPLETE
    return create_trial(state=state, values=values, user_attrs={MEASURED: json.dumps(at_rungs or {})})


def values(trials: list[FrozenTrial], *directions: StudyDirection, seed: int = 0) -> list[Any]:
    return values_of(trials, directions, np.random.default_rng(seed)).tolist()


def test_higher_is_better_whatever_the_direction():
    assert values([ended_trial(1.0), ended_trial(3.0)], UP) == [1.0, 3.0]
    assert values([ended_trial(1.0), ended_trial(3.0)], DOWN) == [-1.0, -3.0]


def test_a_stopped_trial_gains_what_those_that_went_on_gained():
    trials = [
        ended_trial(0.9, {1: 0.5, 3: 0.7}),
        ended_trial(0.8, {1: 0.4, 3: 0.6}),
        ended_trial(None, {1: 0.3, 3: 0.5}),
        ended_trial(None, {1: 0.2}),
    ]
    assert np.allclose(values(trials, UP), [0.9, 0.8, 0.7, 0.6])
    mirrored = [ended_trial(1 - (t.value or 0.0) if t.values else None, flip_values(t)) for t in trials]
    assert np.allclose(values(mirrored, DOWN), [-0.1, -0.2, -0.3, -0.4])


def flip_values(trial: FrozenTrial) -> dict[int, float]:
    return {rung: 1 - value for rung, value in trial.intermediate_values.items()}


def test_before_any_trial_went_on_a_stopped_one_is_worth_what_it_showed():
    assert values([ended_trial(None, {1: 0.3}), ended_trial(None, {1: 0.2})], UP) == [0.3, 0.2]


def test_nothing_is_known_of_a_failed_a_pending_and_an_unmeasured_trial():
    running = optuna.create_study().ask()
    trials = [
        create_trial(state=TrialState.FAIL),
        running.study.trials[0],
        ended_trial(None),
        ended_trial(None, {1: math.nan}),
        ended_trial(math.inf),
    ]
    assert all(math.isnan(value) for value in values(trials, UP))


def test_no_trial_has_no_value():
    assert values([], UP) == []
    assert values([], UP, DOWN) == []


def test_each_corner_of_a_front_is_the_best_for_some_weights():
    trials = [several([0.9, 9.0]), several([0.7, 2.0]), several([0.5, 1.0]), several([0.5, 9.0])]
    best = {int(np.argmax(values(trials, UP, DOWN, seed=seed))) for seed in range(60)}
    assert best == {0, 1, 2}


def test_a_dominated_trial_is_never_worth_more():
    trials = [several([0.9, 2.0]), several([0.8, 3.0])]
    for seed in range(20):
        better, worse = values(trials, UP, DOWN, seed=seed)
        assert better > worse


def test_stopped_trials_of_several_objectives_gain_in_each():
    trials = [several([0.9, 4.0], {1: [0.5, 1.0]}), several([0.5, 8.0]), several(None, {1: [0.5, 1.0]})]
    first, _, stopped = values(trials, UP, DOWN)
    assert stopped == first
