"""Model building: a recipe or a scored trial, trained on all development rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.domain.study import Study, Trial
from optagent.loop.train.prepare import PreparedRows
from optagent.training.families.engineered import Engineered, EngineeredModel
from optagent.training.families.family import FittedModel
from optagent.training.families.parts import ModelPart
from optagent.training.families.registry import family_named
from optagent.training.recipe import Recipe, train_recipe


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A family with parameters, trained on every row but the holdout; `score` is its mean over the folds, if known.

    `form` is the family that loads the model where that is not the trained one, as for a model behind a plan.
    """

    family: str
    params: Mapping[str, Any]
    rounds: int
    model: FittedModel
    score: float = math.nan
    form: str = ""

    @property
    def bundled_as(self) -> str:
        return self.form or self.family


def build_trial(trial: Trial, prepared: PreparedRows, study: Study, threads: int) -> BuiltModel:
    """The model of a scored trial, with the number of rounds that scored best."""
    return build_recipe(
        recipe_of_trial(trial), prepared, study.seed, threads, math.nan if trial.score is None else trial.score
    )


def recipe_of_trial(trial: Trial) -> Recipe:
    """The recipe of a scored trial, with the number of rounds that scored best."""
    return Recipe(f"trial {trial.number}", trial.family, trial.params, trial.rounds)


def build_default(family_name: str, prepared: PreparedRows, study: Study, threads: int) -> BuiltModel:
    """The family as its library ships it: the baseline of a tuned model."""
    family = family_named(family_name)
    recipe = Recipe("defaults", family_name, family.defaults(study.task), family.default_rounds)
    return build_recipe(recipe, prepared, study.seed, threads)


def build_recipe(
    recipe: Recipe, prepared: PreparedRows, seed: int, threads: int, score: float = math.nan
) -> BuiltModel:
    """The recipe's model of all development rows, behind the plan that made their columns."""
    model = train_recipe(prepared.problem, recipe, seed, threads)
    return put_behind_plan(BuiltModel(recipe.family, recipe.params, recipe.rounds, model, score), prepared)


def put_behind_plan(built: BuiltModel, prepared: PreparedRows) -> BuiltModel:
    """The model behind the plan of the rows that it was trained on, if they have one."""
    if prepared.plan is None:
        return built
    model = EngineeredModel(prepared.plan, ModelPart(built.bundled_as, built.model))
    return replace(built, model=model, form=Engineered.name)
