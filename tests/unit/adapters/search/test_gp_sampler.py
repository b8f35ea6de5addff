"""The Gaussian process learns from whatever a study holds, and never leaves the space."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from optagent.adapters.search.acquisition import log_expected_improvement
from optagent.adapters.search.gp_model import GPModel, initial_kernel, propose_point
from optagent.adapters.search.gp_sampler import GPSampler
from optagent.adapters.search.unit_cube import UnitCube

MIXED = {
    "rate": FloatDistribution(0.01, 1.0, log=True),
    "leaves": IntDistribution(4, 64, log=True),
    "bins": CategoricalDistribution((63, 127, 255)),
    "half": FloatDistribution(0.0, 3.0, step=0.5),
    "even": IntDistribution(2, 10, step=2),
    "only": IntDistribution(5, 5),
}
PLANE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


def bowl(params: dict[str, Any]) -> float:
    return -((params["x"] - 0.3) ** 2) - (params["y"] - 0.8) ** 2


def a_study(seed: int = 0, **how: Any) -> optuna.Study:
    return optuna.create_study(sampler=GPSampler(seed), **({"direction": "maximize"} | how))


def run_search(study: optuna.Study, space: dict, score: Callable[[dict], Any], trials: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(trials):
        trial = study.ask(space)
        asked.append(trial.params)
        study.tell(trial, score(trial.params))
    return asked


def test_it_finds_the_top_of_a_bowl_where_random_draws_do_not():
    found = a_study()
    run_search(found, PLANE, bowl, 25)
    drawn = optuna.create_study(sampler=RandomSampler(seed=0), direction="maximize")
    run_search(drawn, PLANE, bowl, 25)
    assert found.best_value > -1e-4 > drawn.best_value


def test_minimising_is_maximising_the_negative():
    up, down = a_study(), a_study(direction="minimize")
    assert run_search(up, PLANE, bowl, 15) == run_search(down, PLANE, lambda params: -bowl(params), 15)


def test_the_same_seed_asks_the_same_and_another_one_does_not():
    first, again, other = (run_search(a_study(seed), PLANE, bowl, 14) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_mixed_space_is_searched_by_its_own_scales():
    def score(params: dict[str, Any]) -> float:
        distance = abs(math.log(params["rate"] / 0.1)) + abs(math.log(params["leaves"] / 16))
        return -distance - (params["bins"] != 127) - abs(params["half"] - 1.5) - abs(params["even"] - 4) / 4

    study = a_study()
    asked = run_search(study, MIXED, score, 40)
    assert all(params["only"] == 5 for params in asked)
    assert study.best_value > -0.5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    low=st.floats(-100, 100),
    width=st.floats(1e-6, 1e3),
    bottom=st.integers(1, 50),
    count=st.integers(0, 60),
    step=st.integers(1, 7),
    log=st.booleans(),
    data=st.data(),
)
def test_what_a_point_decodes_to_is_inside_and_encodes_to_its_snapped_point(low, width, bottom, count, step, log, data):
    space = {
        "float": FloatDistribution(low, low + width),
        "log": FloatDistribution(0.001 + abs(low), 0.002 + abs(low) + width, log=True),
        "whole": IntDistribution(bottom, bottom + count * (1 if log else step), step=1 if log else step, log=log),
        "choice": CategoricalDistribution((None, "a", True, 3)),
    }
    cube = UnitCube(space)
    point = np.array(data.draw(st.lists(st.floats(0, 1), min_size=cube.dimensions, max_size=cube.dimensions)))
    params = cube.decode(point)
    for name in cube.names:
        assert space[name]._contains(space[name].to_internal_repr(params[name]))
    assert isinstance(params.get("whole", bottom), int)
    assert np.allclose(cube.encode([params])[0], cube.snap(point[None])[0], atol=1e-6)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), scores=st.lists(st.floats(allow_nan=True, width=32), min_size=14, max_size=14))
def test_bounds_hold_whatever_the_scores(seed, scores):
    study = a_study(seed)
    for score in scores:
        trial = study.ask(MIXED)
        for name, value in trial.params.items():
            assert MIXED[name]._contains(MIXED[name].to_internal_repr(value))
        study.tell(
            trial, None if math.isnan(score) else score, state=None if not math.isnan(score) else TrialState.FAIL
        )


def test_a_space_of_single_values_is_answered():
    study = a_study()
    asked = run_search(study, {"a": IntDistribution(3, 3), "b": CategoricalDistribution(("x",))}, lambda _: 1.0, 12)
    assert asked == [{"a": 3, "b": "x"}] * 12


def test_a_small_grid_that_is_used_up_is_still_answered():
    study = a_study()
    asked = run_search(
        study, {"a": IntDistribution(0, 2), "b": CategoricalDistribution(("x", "y"))}, lambda p: p["a"], 16
    )
    assert len({(params["a"], params["b"]) for params in asked}) == 6


def test_pending_trials_are_not_asked_again():
    study = a_study()
    run_search(study, PLANE, bowl, 12)
    pending = [study.ask(PLANE).params for _ in range(6)]
    points = np.array([[params["x"], params["y"]] for params in pending])
    apart = np.abs(points[:, None] - points[None]).max(axis=2) + np.eye(len(points))
    assert apart.min() > 1e-5


def test_a_failing_corner_is_left_alone():
    study = a_study()
    failed = []
    for number in range(40):
        trial = study.ask(PLANE)
        failing = trial.params["x"] > 0.5
        if number >= 20:
            failed.append(failing)
        if failing:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, trial.params["x"] + 0.1 * trial.params["y"])
    assert sum(failed) < len(failed) / 2
    assert study.best_value > 0.5


def test_pruned_trials_teach_where_not_to_look():
    """Rung 1 shows a fifth of the final score: taken as it is, the stopped trials would look equally bad."""
    study = a_study()
    late = []
    for number in range(40):
        trial = study.ask(PLANE)
        final = 1.0 + bowl(trial.params)
        trial.report(final / 5, 1)
        if number > 1 and final < 0.9:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, final)
        if number >= 20:
            late.append(final)
    assert np.median(late) > 0.95


def test_a_trial_pruned_before_its_first_score_or_with_nan_is_no_obstacle():
    study = a_study()
    for number in range(16):
        trial = study.ask(PLANE)
        if number % 2:
            trial.report(math.nan, 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, bowl(trial.params))
    assert set(study.ask(PLANE).params) == {"x", "y"}


def by_family(trial: optuna.Trial) -> float:
    if trial.suggest_categorical("family", ("lines", "trees", "woods")) == "lines":
        return 0.5 - abs(trial.suggest_float("lines.c", 0.0, 1.0) - 0.5)
    if trial.params["family"] == "trees":
        rate = trial.suggest_float("trees.rate", 0.0, 1.0)
        return 1.0 - (rate - 0.7) ** 2 - 0.01 * (trial.suggest_int("trees.leaves", 2, 30) - 8) ** 2
    return 0.2 * trial.suggest_float("woods.size", 0.0, 1.0)


def test_each_family_is_tried_and_then_the_best_one_is_followed():
    study = a_study()
    study.optimize(by_family, n_trials=45)
    families = [trial.params["family"] for trial in study.trials]
    assert all(families[:20].count(name) >= 4 for name in ("lines", "trees", "woods"))
    assert families[25:].count("trees") > 10
    assert study.best_value > 0.99


def test_an_enqueued_family_is_kept():
    study = a_study()
    study.optimize(by_family, n_trials=25)
    study.enqueue_trial({"family": "woods"})
    study.optimize(by_family, n_trials=1)
    assert set(study.trials[-1].params) == {"family", "woods.size"}


def test_trials_outside_todays_bounds_do_not_count():
    study = a_study()
    old = {"x": FloatDistribution(0.0, 9.0), "y": FloatDistribution(0.0, 1.0)}
    study.add_trial(create_trial(params={"x": 8.0, "y": 0.5}, distributions=old, value=100.0))
    assert all(params["x"] <= 1.0 for params in run_search(study, PLANE, bowl, 14))


def test_two_objectives_end_in_a_front_that_spreads():
    study = a_study(direction=None, directions=["maximize", "minimize"])
    run_search(study, PLANE, lambda p: (p["x"] - p["y"], p["x"] ** 2), 30)
    front = np.array([trial.values for trial in study.best_trials])
    assert len(front) >= 6
    assert np.ptp(front[:, 0]) > 0.6


def test_hundreds_of_trials_are_bounded_by_the_best_and_the_newest():
    study = a_study()
    rng = np.random.default_rng(0)
    for x, y in rng.random((500, 2)):
        params = {"x": float(x), "y": float(y)}
        study.add_trial(create_trial(params=params, distributions=PLANE, value=bowl(params)))
    asked = study.ask(PLANE).params
    assert abs(asked["x"] - 0.3) < 0.1
    assert abs(asked["y"] - 0.8) < 0.1


def test_log_expected_improvement_is_exact_near_and_far():
    from scipy.stats import norm

    z = np.array([-8.0, -3.0, 0.0, 2.0, 7.0])
    direct = np.log(norm.pdf(z) + z * norm.cdf(z))
    assert np.allclose(log_expected_improvement(z, np.ones(5), 0.0), direct, rtol=1e-6)
    far = log_expected_improvement(np.linspace(-200.0, -1.0, 2000), np.ones(2000), 0.0)
    assert np.all(np.isfinite(far))
    assert np.all(np.diff(far) > 0)


def test_fantasizing_lowers_the_improvement_expected_of_a_pending_point():
    rng = np.random.default_rng(0)
    cube = UnitCube(PLANE)
    points = rng.random((12, 2))
    model = GPModel.fit(points, np.sin(6 * points[:, 0]), initial_kernel(2))
    best = propose_point(model, cube, rng)[None]
    assert model.fantasize(best).log_improvement(best)[0] < model.log_improvement(best)[0]


@pytest.mark.parametrize("values", [[1.0] * 12, [1e300, -1e300] * 6, [math.inf] + [1.0] * 11])
def test_values_of_any_size_are_taken(values):
    study = a_study()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for value in values:
            study.tell(study.ask(PLANE), value)
        assert set(study.ask(PLANE).params) == {"x", "y"}
