"""Training recipe: everything that it takes to train a model once more, on all rows or fold by fold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows
from optagent.codec import decode, plain
from optagent.errors import InvalidRequest
from optagent.training.bag import BagPart
from optagent.training.cost import latency_p99_ms, size_mb
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.family import Family, FittedModel
from optagent.training.families.parts import ModelPart
from optagent.training.families.registry import family_named
from optagent.training.label_encoding import fit_label_steps, start_fit
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data, Problem
from optagent.training.transform import transform_data


@dataclass(frozen=True, slots=True)
class Recipe:
    """A family with parameters, trained for `rounds` of its steps, on the columns of a plan where it has one.

    `name` is the name that people use for it. A recipe of one model of a bag has the `part` that it is.
    """

    name: str
    family: str
    params: Mapping[str, Any]
    rounds: int
    plan: FeaturePlan | None = None
    part: BagPart | None = None

    def to_plain(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        return {
            "name": self.name,
            "family": self.family,
            "params": dict(self.params),
            "rounds": self.rounds,
            **({} if self.plan is None else {"plan": plain(self.plan)}),
            **({} if self.part is None else {"part": self.part.to_plain()}),
        }

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_plain` wrote; raises InvalidRequest."""
        try:
            plan = decode(FeaturePlan, fields["plan"]) if fields.get("plan") is not None else None
            part = BagPart.from_plain(fields["part"]) if fields.get("part") is not None else None
            name, family = str(fields["name"]), str(fields["family"])
            return cls(name, family, dict(fields["params"]), int(fields["rounds"]), plan, part)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not a recipe: {error}") from None

    def problem(self, problem: Problem) -> Problem:
        """The rows with the columns that this recipe learns from."""
        return problem if self.plan is None else replace(problem, data=transform_data(self.plan, problem.data))

    def fit_labels(self, data: Data) -> "Recipe":
        """The recipe with a plan whose means of the target are those of these rows."""
        return self if self.plan is None else replace(self, plan=fit_label_steps(self.plan, data))

    def rows_of(self, rows: Rows, data: Data, seed: int) -> Rows:
        """Those of the rows that a model of this recipe learns from: all, or all but a fold where it is part of a
        bag."""
        return rows if self.part is None else self.part.rows_of(rows, data.y, seed)

    def seed_of(self, seed: int) -> int:
        """The seed that a model of this recipe is trained by."""
        return seed if self.part is None else self.part.seed_of(seed)

    def with_plan(self, model: FittedModel) -> FittedModel:
        """`model`, which learned from the plan's columns, as a model of the encoded columns."""
        return model if self.plan is None else EngineeredModel(self.plan, ModelPart(self.family, model))


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """A recipe's predictions of each fold's validation rows, and the serving cost of the last fold's model.

    The cost is unknown where a search has kept the predictions and no model.
    """

    predictions: tuple[Prediction, ...]
    latency_ms: float | None = None
    size_mb: float | None = None


def predict_out_of_fold(problem: Problem, recipe: Recipe, seed: int = 0) -> OutOfFold:
    """Trains the recipe once per fold; raises Infeasible."""
    own_problem, family = recipe.problem(problem), family_named(recipe.family)
    predictions, model = [], None
    for fold in own_problem.folds:
        train = recipe.rows_of(fold.train, own_problem.data, seed)
        fit = start_fit(family, recipe.params, own_problem.data, train, fold.valid, seed=recipe.seed_of(seed))
        fit.advance(recipe.rounds)
        predictions.append(fit.predict_valid())
        model = fit.model()
    assert model is not None, "a problem has folds"
    servable, rows = recipe.with_plan(model), _last_valid_rows(problem)
    return OutOfFold(tuple(predictions), latency_p99_ms(servable, rows), size_mb(servable, rows))


def train_recipe(problem: Problem, recipe: Recipe, seed: int = 0, threads: int = 1) -> FittedModel:
    """The recipe's model of all rows, or of its part of them; raises Infeasible."""
    recipe = recipe.fit_labels(problem.data)
    data, family = recipe.problem(problem).data, family_named(recipe.family)
    rows, own_seed = recipe.rows_of(np.arange(len(data)), data, seed), recipe.seed_of(seed)
    model = refit(family, recipe.params, data, rows, recipe.rounds, seed=own_seed, threads=threads)
    return recipe.with_plan(model)


def refit(
    family: Family, params: Mapping[str, Any], data: Data, rows: Rows, rounds: int, seed: int = 0, threads: int = 1
) -> FittedModel:
    """A model of `rounds` steps on `rows`; the other rows of `data` are not read. Raises Infeasible."""
    fit = start_fit(family, params, data, rows, seed=seed, threads=threads)
    fit.advance(rounds)
    return fit.model()


def _last_valid_rows(problem: Problem) -> Matrix:
    return problem.data.x_of(problem.folds[-1].valid)
