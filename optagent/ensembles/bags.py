"""Bags of recipes: a recipe becomes several, one for each part of its bag, and the mean of all parts is one model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.training.average import WeightedMean
from optagent.training.bag import FOLDS, BagPart
from optagent.training.families.names import is_ours
from optagent.training.recipe import Recipe

KINDS = {"seeds": 0, "folds": FOLDS}
"""The folds of which each model of a bag leaves out one, by the name of the kind; 0: it learns from all rows."""

MOST_ROWS = 2_000
"""Rows to learn from, above which no bag is tried: with so many, `bag_test` accepted none of the bags that
`tests/performance/bench_bags.py` has measured."""

MOST_MODELS = 100
"""Models of all bags together, each of which is a part of the graph that answers."""

STEADY = frozenset({"linear"})
"""Families whose models of nearly the same rows are nearly the same, so that their mean gains nothing."""


def bag_recipes(recipes: Sequence[Recipe], models: int, kind: str = "folds") -> tuple[Recipe, ...]:
    """The recipes of `models` parts for each of these; the first part of every one comes first, then the second."""
    return tuple(
        replace(recipe, name=f"{recipe.name}, {kind} {number + 1}", part=BagPart(recipe.name, number, KINDS[kind]))
        for number in range(models)
        for recipe in recipes
    )


def bag_mean(parts: Sequence[Recipe], task: Task, weights: WeightedMean | None) -> WeightedMean:
    """The mean of parts of bags that have as many parts each; `weights` are those of the bags by name, None for one
    bag alone."""
    bags = [bag_name(part) for part in parts]
    shares = {bags[0]: 1.0} if weights is None else dict(zip(weights.names, weights.weights, strict=True))
    each = [shares[bag] / bags.count(bag) for bag in bags]
    total = math.fsum(each)
    return WeightedMean(task, tuple(part.name for part in parts), tuple(weight / total for weight in each))


def single_means(parts: Sequence[Recipe], task: Task, weights: WeightedMean | None) -> tuple[WeightedMean, ...]:
    """The one model, or the one ensemble by the weights of the bags, that the parts of each number are."""
    numbers = {part.part.number: None for part in parts if part.part is not None}
    return tuple(
        bag_mean([part for part in parts if part.part is not None and part.part.number == number], task, weights)
        for number in numbers
    )


def bag_name(recipe: Recipe) -> str:
    """The name of the recipe that a part is of; its own name where it is no part of a bag."""
    return recipe.name if recipe.part is None else recipe.part.bag


def whole_recipes(recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The recipes that these are parts of, each once, in their order; recipes that are no parts stay as they are."""
    wholes = {bag_name(recipe): replace(recipe, name=bag_name(recipe), part=None) for recipe in reversed(recipes)}
    return tuple(reversed(wholes.values()))


def bagged_recipe(params: Mapping[str, Any]) -> Recipe | None:
    """The recipe that an ensemble's parameters say it is a bag of; None for other ensembles and other parameters."""
    try:
        recipes = tuple(Recipe.from_plain(fields) for fields in params["recipes"])
    except (KeyError, TypeError, AttributeError, InvalidRequest):
        return None
    wholes = whole_recipes(recipes)
    return wholes[0] if len(wholes) == 1 and all(recipe.part is not None for recipe in recipes) else None


def bag_like(recipes: Sequence[Recipe], parts: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """Bags of these recipes, of as many models and of the kind that `parts` are; the recipes where none is a part."""
    models = max((part.part.number + 1 for part in parts if part.part is not None), default=0)
    folds = next((part.part.folds for part in parts if part.part is not None), 0)
    kind = next((name for name, count in KINDS.items() if count == folds), "folds")
    return bag_recipes(recipes, models, kind) if models else tuple(recipes)


def full_rounds(parts: Sequence[Recipe], trained: frozenset[str], bags: int) -> tuple[Recipe, ...]:
    """The first parts whose bags, `bags` of them, all have as many that were trained."""
    missing = next((index for index, part in enumerate(parts) if part.name not in trained), len(parts))
    return tuple(parts[: missing - missing % bags])


def why_no_bag(recipes: Sequence[Recipe], models: int, rows: int) -> str | None:
    """The reason for not trying bags of so many models of these recipes on so many rows to learn from; None where they
    are tried."""
    if models * len(recipes) > MOST_MODELS:
        return f"{len(recipes)} bags of {models} models, {MOST_MODELS} models are the most together"
    if rows > MOST_ROWS:
        return f"{rows:,} rows to learn from, bags are tried up to {MOST_ROWS:,}"
    own = next((recipe.family for recipe in recipes if not is_ours(recipe.family)), None)
    if own is not None:
        return f"a model of a family of your own ({own}) cannot be part of another model"
    if all(recipe.family in STEADY for recipe in recipes):
        return f"models of the family {recipes[0].family} are the same on each fold but for little"
    return None
