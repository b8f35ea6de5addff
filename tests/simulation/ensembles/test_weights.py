"""Greedy, grid and gradient: three ways to the same weights."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.model import Task
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.greedy import GreedyPlan, greedy
from optagent.ensembles.members import Members, members_of
from optagent.ensembles.mixing import mean_of
from optagent.ensembles.simplex import count_points, finest_resolution, grid, simplex
from optagent.ensembles.slsqp import loss_for, slsqp
from optagent.ensembles.target import Target, best_of, gains, target_of
from optagent.errors import InvalidRequest
from optagent.training.metrics import METRICS

Library = Callable[..., Members]
SMOOTH = [
    (Task.BINARY, "log_loss", "log_loss"),
    (Task.BINARY, "brier", "brier"),
    (Task.MULTICLASS, "log_loss", "log_loss"),
    (Task.REGRESSION, "rmse", "squared_error"),
]


def target_named(members: Members, name: str) -> Target:
    return target_of(members, [METRICS[name]])


def worth(members: Members, target: Target, weights: np.ndarray) -> float:
    return target.worth(members.y, mean_of(members, weights))


@pytest.mark.parametrize(("task", "name", "loss"), SMOOTH)
def test_greedy_comes_within_a_ten_thousandth_of_the_optimum(
    library: Library, task: Task, name: str, loss: str
) -> None:
    members = library(task, models=10, rows=2000)
    target = target_named(members, name)
    optimum, greedy_worth = (worth(members, target, each) for each in (slsqp(members, loss), greedy(members, target)))
    assert optimum - 1e-4 * max(1.0, abs(optimum)) <= greedy_worth <= optimum + 1e-5
    assert greedy_worth > target.singles(members).max()


@pytest.mark.parametrize(("task", "name", "loss"), SMOOTH)
def test_no_point_of_the_grid_is_better_than_the_optimum(library: Library, task: Task, name: str, loss: str) -> None:
    members = library(task, models=4)
    target = target_named(members, name)
    weights = simplex(members, target, 20)
    assert worth(members, target, weights) <= worth(members, target, slsqp(members, loss)) + 1e-6
    assert worth(members, target, weights) >= target.singles(members).max()  # its corners are the models alone


@pytest.mark.parametrize("name", ["auc", "f1", "accuracy", "calibration_error"])
def test_greedy_is_never_worse_than_the_best_single_by_any_metric(library: Library, name: str) -> None:
    members = library(models=4, rows=300)
    target = target_named(members, name)
    weights = greedy(members, target, GreedyPlan(steps=15))
    assert worth(members, target, weights) >= target.singles(members).max() - 1e-9


@given(st.integers(0, 10**6), st.sampled_from(["log_loss", "auc", "brier", "accuracy"]), st.permutations(range(5)))
@settings(max_examples=25, deadline=None)
def test_weights_sum_to_one_and_do_not_depend_on_the_order_of_models(
    library: Library, seed: int, name: str, order: list[int]
) -> None:
    members = library(models=5, rows=120, seed=seed)
    shuffled = members.select_models(order)
    weights = [
        dict(zip(each.names, greedy(each, target_named(each, name), GreedyPlan(steps=12)).tolist(), strict=True))
        for each in (members, shuffled)
    ]
    assert weights[0] == pytest.approx(weights[1], abs=1e-12)
    assert sum(weights[0].values()) == pytest.approx(1)
    assert min(weights[0].values()) >= 0


def test_the_first_draw_is_the_best_single_model(library: Library) -> None:
    members = library()
    target = target_named(members, "log_loss")
    assert np.argmax(greedy(members, target, GreedyPlan(steps=1))) == np.argmax(target.singles(members))


def test_weight_of_identical_members_goes_to_the_first_by_name(library: Library) -> None:
    members = library(models=3)
    twins = members_of(members.task, {"zz": members.predictions[0], **members.by_member()}, members.y)
    for name in ("log_loss", "auc"):
        weights = greedy(twins, target_named(twins, name))
        assert weights[0] == 0
        np.testing.assert_allclose(weights[1:], greedy(members, target_named(members, name)), atol=1e-12)


def test_only_identical_members_are_one_model(library: Library) -> None:
    one = library(models=2).predictions[0]
    members = members_of(Task.BINARY, {"a": one, "b": one}, library(models=2).y)
    assert greedy(members, target_named(members, "log_loss")).tolist() == [1, 0]


def test_bags_share_the_weight_out_and_the_seed_decides(library: Library) -> None:
    members = library(models=8)
    target = target_named(members, "log_loss")
    one, again, other = (greedy(members, target, GreedyPlan(steps=10, bags=5, seed=seed)) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    assert one.sum() == pytest.approx(1)
    assert (one > 0).sum() > (greedy(members, target, GreedyPlan(steps=10)) > 0).sum()


def test_candidates_can_be_shared_out(library: Library) -> None:
    members = library(models=6)
    target, asked = target_named(members, "auc"), []

    def by_two(counts: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        asked.append(len(candidates))
        return np.concatenate([gains(members, target, counts, share) for share in np.array_split(candidates, 2)])

    weights = greedy(members, target, GreedyPlan(steps=9), compute_gains=by_two)
    np.testing.assert_array_equal(weights, greedy(members, target, GreedyPlan(steps=9)))
    assert asked == [6] * 9


def test_a_budget_of_latency_holds_for_all_members_together(library: Library) -> None:
    latency = {f"m{index:02d}": cost for index, cost in enumerate([5.0, 1.0, 2.0, 2.0, 9.0, 1.5])}
    members = library(models=6, rows=1000, latency_ms=latency)
    target = target_named(members, "log_loss")
    for limit in (2.0, 4.5, 8.0):
        weights = greedy(members, target, budget=EnsembleBudget(max_latency_ms=limit))
        assert 0 < np.array(members.latency_ms)[weights > 0].sum() <= limit
    assert (greedy(members, target, budget=EnsembleBudget(max_models=2)) > 0).sum() == 2
    assert EnsembleBudget(max_latency_ms=20.5).holds_all(members)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (EnsembleBudget(max_latency_ms=0.5), "no model meets 0.5 latency_ms: the least is 1, of m00"),
        (EnsembleBudget(max_size_mb=1), "a budget of size_mb needs the size_mb of each model"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused(library: Library, budget: EnsembleBudget, message: str) -> None:
    members = library(models=2, latency_ms={"m00": 1.0, "m01": 2.0})
    with pytest.raises(InvalidRequest, match=message):
        greedy(members, target_named(members, "brier"), budget=budget)


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: EnsembleBudget(max_models=0),
        lambda: GreedyPlan(steps=0),
        lambda: GreedyPlan(bag_share=0.0),
        lambda: GreedyPlan(bags=0),
    ],
)
def test_nonsense_is_refused_at_birth(nonsense: Callable[[], object]) -> None:
    with pytest.raises(InvalidRequest, match="must be"):
        nonsense()


def test_a_grid_has_every_point_once() -> None:
    points = grid(3, 4)
    assert len(points) == count_points(3, 4) == len(np.unique(points, axis=0)) == 15
    np.testing.assert_allclose(points.sum(axis=1), 1)


def test_a_grid_of_too_many_points_is_refused_and_the_finest_that_fits_is_known() -> None:
    with pytest.raises(InvalidRequest, match=r"50 models in steps of 1/20 has 1.16e\+17 points"):
        grid(50, 20)
    assert count_points(4, finest_resolution(4)) <= 20_000 < count_points(4, finest_resolution(4) + 1)
    assert finest_resolution(1000, 500) == 0


def test_slsqp_leaves_out_what_it_does_not_need(library: Library) -> None:
    members = library(models=8, rows=1000)
    noise = np.random.default_rng(0).random(1000)
    worse = members_of(members.task, {**members.by_member(), "noise": noise}, members.y)
    weights = slsqp(worse, "log_loss")
    assert weights[-1] == 0
    assert weights.sum() == pytest.approx(1)


def test_slsqp_refuses_what_it_has_no_gradient_for_and_names_the_loss_that_stands_for_a_metric(
    library: Library,
) -> None:
    members = library()
    with pytest.raises(InvalidRequest, match="unknown loss 'auc'; one of"):
        slsqp(members, "auc")
    assert loss_for(members, target_named(members, "auc")) == "log_loss"
    assert loss_for(members, target_named(members, "brier")) == "brier"
    values = library(Task.REGRESSION)
    assert loss_for(values, target_named(values, "mae")) == loss_for(values, target_named(values, "r2"))


def test_the_scale_of_values_does_not_matter(library: Library) -> None:
    members = library(Task.REGRESSION)
    for factor in (1e-8, 1e6):
        scaled = members_of(
            members.task, {name: one * factor for name, one in members.by_member().items()}, members.y * factor
        )
        np.testing.assert_allclose(slsqp(scaled, "squared_error"), slsqp(members, "squared_error"), atol=1e-3)
        weights = greedy(scaled, target_named(scaled, "rmse"))
        np.testing.assert_array_equal(weights, greedy(members, target_named(members, "rmse")))


def test_scores_that_are_no_numbers_are_never_best() -> None:
    assert best_of(np.array([np.nan, -3.0, -np.inf]), np.arange(3)) == 1
    with pytest.raises(InvalidRequest, match="finite"):
        best_of(np.array([np.nan, np.inf * -1]), np.arange(2))
