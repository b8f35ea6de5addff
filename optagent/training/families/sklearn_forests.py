"""Forest families of scikit-learn: random forests and extremely randomised trees, grown some trees at a time."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, Parameter, SearchSpace
from optagent.training.families.family import Cache
from optagent.training.families.feasible import (
    check_rounds,
    check_rows,
    finite,
    library_refusals,
    normalised_weight,
)
from optagent.training.families.params import complete_params, library_seed
from optagent.training.families.sklearn_columns import forget_folds, sum_by_column, tree_columns
from optagent.training.families.sklearn_model import SklearnModel, load_model, predict_estimator
from optagent.training.problem import Data


class _Forest:
    """Base of both kinds of forest; a round is one tree."""

    name: str
    rounds_per_unit = 5
    score_growth = 0.0
    default_rounds = 100
    limits: Mapping[str, tuple[float, float]] = {
        "max_features": (0.01, 1.0),
        "min_samples_leaf": (1, 1_000_000),
        "min_samples_split": (2, 1_000_000),
        "max_depth": (1, 1000),
        "max_samples": (0.01, 1.0),
    }
    _bootstraps = True

    def supports(self, task: Task) -> bool:
        return True

    def space(self, task: Task) -> SearchSpace:
        parameters: list[Parameter] = [
            Categorical("max_features", ("sqrt", 0.25, 0.5, 0.75, 1.0)),
            Int("min_samples_leaf", 1, 50, log=True),
            Int("min_samples_split", 2, 50, log=True),
            Categorical("max_depth", (None, 6, 10, 16, 24)),
            Categorical("bootstrap", (self._bootstraps, not self._bootstraps)),
            Float("max_samples", 0.3, 1.0),
        ]
        if task.classifies:
            parameters.append(Categorical("criterion", ("gini", "entropy")))
        return SearchSpace(tuple(parameters))

    def defaults(self, task: Task) -> Mapping[str, Any]:
        defaults = {
            "max_features": "sqrt" if task.classifies else 1.0,
            "min_samples_leaf": 1,
            "min_samples_split": 2,
            "max_depth": None,
            "bootstrap": self._bootstraps,
            "max_samples": 1.0,
        }
        return {**defaults, "criterion": "gini"} if task.classifies else defaults

    def estimator(self, task: Task) -> type:
        raise NotImplementedError

    def start(
        self,
        params: Mapping[str, Any],
        data: Data,
        train: Rows,
        valid: Rows | None = None,
        *,
        seed: int = 0,
        threads: int = 1,
        cache: Cache | None = None,
    ) -> "ForestFit":
        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        # `max_samples` is the size of a bootstrap sample: without one there is nothing to size.
        if not settings["bootstrap"]:
            settings["max_samples"] = None
        forest = self.estimator(data.task)(
            **settings, n_estimators=1, warm_start=True, random_state=library_seed(seed), n_jobs=threads
        )
        return ForestFit(forest, data, train, valid, library_seed(seed))

    def load(self, folder: Path, task: Task, n_classes: int) -> SklearnModel:
        return load_model(folder, task, n_classes, self.estimator(task), _importances)


class RandomForest(_Forest):
    """Breiman's forests: the best split of some columns on a bootstrap sample."""

    name = "random_forest"

    def estimator(self, task: Task) -> type:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        return RandomForestClassifier if task.classifies else RandomForestRegressor


class ExtraTrees(_Forest):
    """Extremely randomised trees: random splits, by default on all rows."""

    name = "extra_trees"
    _bootstraps = False

    def estimator(self, task: Task) -> type:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        return ExtraTreesClassifier if task.classifies else ExtraTreesRegressor


class ForestFit:
    """A forest under growth; the validation prediction is a running sum over its trees."""

    def __init__(self, forest: Any, data: Data, train: Rows, valid: Rows | None, seed: int) -> None:
        self.rounds = 0
        self._forest = forest
        self._task = data.task
        self._y = data.y[train]
        self._weight = normalised_weight(data, train)
        self._columns = tree_columns(data, self._y, seed)
        with library_refusals():
            self._x = self._columns.fit_transform(data.x_of(train), self._y).astype(np.float32)
            self._x_valid = None if valid is None else self._columns.transform(data.x_of(valid)).astype(np.float32)
        forget_folds(self._columns)
        self._summed = 0
        self._sum: Any = 0.0

    def advance(self, rounds: int) -> None:
        if rounds <= self.rounds:
            return
        with library_refusals():
            self._forest.set_params(n_estimators=rounds).fit(self._x, self._y, sample_weight=self._weight)
        self.rounds = rounds

    def predict_valid(self) -> Prediction:
        assert self._x_valid is not None, "this fit has no validation rows"
        for tree in self._forest.estimators_[self._summed :]:
            self._sum = self._sum + predict_estimator(tree, self._x_valid, self._task)
        self._summed = self.rounds
        return finite(self._sum / self.rounds)

    def model(self, rounds: int | None = None) -> SklearnModel:
        from sklearn.pipeline import Pipeline

        trees = check_rounds(rounds, self.rounds)
        forest = copy.copy(self._forest)
        forest.estimators_ = list(forest.estimators_[:trees])
        # One thread adds up the trees in their order: more would round differently from one call to the next.
        forest.set_params(n_estimators=trees, warm_start=False, n_jobs=1)
        # The forest remembers the weights of its training rows, which are no part of the model.
        forest._sample_weight = None
        return SklearnModel(Pipeline([("columns", self._columns), ("model", forest)]), self._task, _importances)


def _importances(pipeline: Any) -> Vector:
    return sum_by_column(pipeline["columns"], pipeline["model"].feature_importances_)
