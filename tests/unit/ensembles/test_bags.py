"""Bags are recipes in parts whose mean is taken where it is shown to be better, and is the same model once stored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling
from optagent.domain.model import Task
from optagent.ensembles.bag_test import BagTest, choose_bag
from optagent.ensembles.bags import (
    MOST_ROWS,
    bag_like,
    bag_mean,
    bag_recipes,
    bagged_recipe,
    full_rounds,
    single_means,
    whole_recipes,
    why_no_bag,
)
from optagent.ensembles.members import members_of
from optagent.training.average import WeightedMean
from optagent.training.metrics import METRICS
from optagent.training.recipe import Recipe

TREES, FOREST = Recipe("trial 3", "lightgbm", {"num_leaves": 7}, 20), Recipe("trial 5", "extra_trees", {}, 9)
BOTH = WeightedMean(Task.REGRESSION, ("trial 3", "trial 5"), (0.25, 0.75))


def test_the_parts_of_a_bag_share_its_weight_equally():
    mean = bag_mean(bag_recipes([TREES, FOREST], 2), Task.REGRESSION, BOTH)
    assert mean.names == ("trial 3, folds 1", "trial 5, folds 1", "trial 3, folds 2", "trial 5, folds 2")
    assert mean.weights == pytest.approx((0.125, 0.375, 0.125, 0.375))
    assert bag_mean(bag_recipes([TREES], 4), Task.REGRESSION, None).weights == (0.25,) * 4


def test_the_mean_of_recipes_that_are_no_parts_is_that_of_their_weights():
    assert bag_mean([TREES, FOREST], Task.REGRESSION, BOTH) == BOTH


@pytest.mark.parametrize("kind", ["folds", "seeds"])
def test_a_bag_is_made_again_of_the_recipes_that_it_is_of(kind: str):
    parts = bag_recipes([TREES, FOREST], 3, kind)
    assert whole_recipes(parts) == (TREES, FOREST)
    assert bag_like([FOREST], parts) == bag_recipes([FOREST], 3, kind)
    assert bag_like([FOREST], [TREES]) == (FOREST,)


def test_the_parameters_of_a_bag_tell_its_recipe_and_those_of_other_ensembles_none():
    def params(*recipes: Recipe) -> dict[str, object]:
        return {"recipes": [recipe.to_plain() for recipe in recipes]}

    assert bagged_recipe(params(*bag_recipes([TREES], 3))) == TREES
    assert bagged_recipe(params(*bag_recipes([TREES, FOREST], 3))) is None
    assert bagged_recipe(params(TREES)) is None
    assert bagged_recipe({"num_leaves": 7}) is None
    assert bagged_recipe({"recipes": [{"name": "half"}]}) is None


def test_of_models_that_were_ended_by_the_time_all_bags_keep_as_many():
    parts = bag_recipes([TREES, FOREST], 3)
    trained = frozenset(part.name for part in parts[:3])
    assert full_rounds(parts, trained, bags=2) == parts[:2]
    assert full_rounds(parts, frozenset(), bags=2) == ()


@pytest.mark.parametrize(
    ("recipes", "models", "rows", "reason"),
    [
        ([TREES], 10, MOST_ROWS, None),
        ([TREES], 10, MOST_ROWS + 1, "rows to learn from"),
        ([TREES, FOREST], 51, 500, "100 models are the most"),
        ([Recipe("trial 1", "linear", {}, 1)], 10, 500, "family linear"),
        ([Recipe("trial 1", "shop.models:Ours", {}, 1)], 10, 500, "a family of your own"),
    ],
)
def test_no_bag_is_tried_where_none_has_gained(recipes: list[Recipe], models: int, rows: int, reason: str | None):
    said = why_no_bag(recipes, models, rows)
    assert said is None if reason is None else reason in (said or "")


def members_with(part_noise: float, single_noise: float = 1.0, rows: int = 400) -> Any:
    """A bag whose parts have noise of their own, and five models of all rows with other noise."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=rows)
    parts, singles = bag_recipes([TREES], 5, "folds"), bag_recipes([TREES], 5, "seeds")
    predictions = {part.name: y + part_noise * rng.normal(size=rows) for part in parts}
    predictions |= {part.name: y + single_noise * rng.normal(size=rows) for part in singles}
    members = members_of(Task.REGRESSION, predictions, y)
    bags = {"folds": bag_mean(parts, Task.REGRESSION, None)}
    return members, bags, single_means(singles, Task.REGRESSION, None)


RMSE = BagTest(METRICS["rmse"], 0.05, Resampling())


def test_a_bag_that_averages_noise_away_is_taken_with_its_score_and_reason():
    choice = choose_bag(*members_with(part_noise=1.0), RMSE, {})
    assert choice.kind == "folds"
    assert choice.score == pytest.approx(5**-0.5, rel=0.1)
    assert "a bag: 5 models of folds have a rmse of" in choice.reason


def test_a_bag_that_is_not_shown_to_be_better_is_left():
    choice = choose_bag(*members_with(part_noise=5**0.5), RMSE, {})
    assert choice.kind is None
    assert "not shown to be better" in choice.reason


def test_a_bag_that_answers_too_slowly_is_left_whatever_it_gains():
    worlds, test = members_with(part_noise=0.1), replace(RMSE, max_latency_ms=2.0)
    assert choose_bag(*worlds, test, {"folds": 1.9}).kind == "folds"
    assert "the latency gate lets 2 ms through" in choose_bag(*worlds, test, {"folds": 2.1}).reason


def test_models_that_are_nearly_the_same_by_each_seed_gain_too_little():
    members, _, singles = members_with(part_noise=1.0, single_noise=0.0)
    noise = np.random.default_rng(1).normal(size=members.rows)
    same = {name: members.y + noise + 0.01 * members.predictions[index] for index, name in enumerate(members.names)}
    members = members_of(Task.REGRESSION, same, members.y)
    seeds = WeightedMean(Task.REGRESSION, tuple(single.names[0] for single in singles), (0.2,) * 5)
    choice = choose_bag(members, {"seeds": seeds}, singles, RMSE, {})
    assert choice.kind is None


def test_the_model_of_each_number_is_one_of_the_recipe_and_keeps_the_weights_of_an_ensemble():
    first, second = single_means(bag_recipes([TREES, FOREST], 2, "seeds"), Task.REGRESSION, BOTH)
    assert first == WeightedMean(Task.REGRESSION, ("trial 3, seeds 1", "trial 5, seeds 1"), (0.25, 0.75))
    assert second.names == ("trial 3, seeds 2", "trial 5, seeds 2")
