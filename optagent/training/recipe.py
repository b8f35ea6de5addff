"""A recipe: all that it takes to train a model once more, and what it says of rows that it is not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Prediction
from optagent.codec import decode, plain
from optagent.errors import InvalidRequest
from optagent.training.cost import latency_p99_ms, size_mb
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.family import FittedModel
from optagent.training.families.parts import ModelPart
from optagent.training.families.registry import family_named
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Problem
from optagent.training.refit import refit
from optagent.training.transform import transformed


@dataclass(frozen=True, slots=True)
class Recipe:
    """A family with parameters, trained for so many of its steps, on the columns of a plan where it has one.

    `name` is what people call it.
    """

    name: str
    family: str
    params: Mapping[str, Any]
    rounds: int
    plan: FeaturePlan | None = None

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        fields = {"name": self.name, "family": self.family, "params": dict(self.params), "rounds": self.rounds}
        return fields if self.plan is None else {**fields, "plan": plain(self.plan)}

    @classmethod
    def from_plain(cls, kept: Mapping[str, Any]) -> "Recipe":
        """What `to_plain` wrote; raises InvalidRequest."""
        try:
            plan = decode(FeaturePlan, kept["plan"]) if kept.get("plan") is not None else None
            return cls(str(kept["name"]), str(kept["family"]), dict(kept["params"]), int(kept["rounds"]), plan)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not a recipe: {error}") from None

    def problem(self, problem: Problem) -> Problem:
        """The rows as this recipe learns from them."""
        return problem if self.plan is None else replace(problem, data=transformed(self.plan, problem.data))

    def whole(self, model: FittedModel) -> FittedModel:
        """A model that learned from those rows, for rows as they come."""
        return model if self.plan is None else EngineeredModel(self.plan, ModelPart(self.family, model))


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What models of a recipe said of each fold's validation rows, and what the last of them costs to serve."""

    predictions: tuple[Prediction, ...]
    latency_ms: float
    size_mb: float


def predicted_out_of_fold(problem: Problem, recipe: Recipe, seed: int = 0) -> OutOfFold:
    """Trains the recipe once a fold; raises Infeasible."""
    own, family = recipe.problem(problem), family_named(recipe.family)
    said, model = [], None
    for fold in own.folds:
        fit = family.start(recipe.params, own.data, fold.train, fold.valid, seed=seed)
        fit.advance(recipe.rounds)
        said.append(fit.predict_valid())
        model = fit.model()
    assert model is not None, "a problem has folds"
    whole, rows = recipe.whole(model), _some(problem)
    return OutOfFold(tuple(said), latency_p99_ms(whole, rows), size_mb(whole, rows))


def trained(problem: Problem, recipe: Recipe, seed: int = 0, threads: int = 1) -> FittedModel:
    """The recipe's model of all rows; raises Infeasible."""
    own = recipe.problem(problem)
    rows = np.arange(len(own.data))
    model = refit(family_named(recipe.family), recipe.params, own.data, rows, recipe.rounds, seed=seed, threads=threads)
    return recipe.whole(model)


def _some(problem: Problem) -> Matrix:
    return problem.data.x_of(problem.folds[-1].valid)
