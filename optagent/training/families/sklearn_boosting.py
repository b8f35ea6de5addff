"""Histogram gradient boosting of scikit-learn, which resumes training where it stopped."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.training.families.family import Cache
from optagent.training.families.feasible import (
    check_rounds,
    check_rows,
    finite,
    library_refusals,
    normalised_weight,
)
from optagent.training.families.params import OFF, complete_params, library_seed, penalty
from optagent.training.families.sklearn_model import SklearnModel, load_model, predict_estimator
from optagent.training.problem import Data


class HistGradientBoosting:
    """The family of histogram gradient boosting. Categorical columns with more levels than bins count as numeric."""

    name = "hist_gradient_boosting"
    rounds_per_unit = 10
    default_rounds = 100
    score_growth = 1 / 3
    limits: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-4, 1.0),
        "max_leaf_nodes": (2, 4096),
        "min_samples_leaf": (1, 1_000_000),
        "l2_regularization": (0.0, 1e4),
        "max_features": (0.01, 1.0),
        "max_bins": (2, 255),
    }

    def supports(self, task: Task) -> bool:
        return True

    def space(self, task: Task) -> SearchSpace:
        return SearchSpace(
            (
                Float("learning_rate", 0.01, 0.3, log=True),
                Int("max_leaf_nodes", 4, 256, log=True),
                Int("min_samples_leaf", 2, 200, log=True),
                Float("l2_regularization", OFF, 100.0, log=True),
                Float("max_features", 0.4, 1.0),
                Categorical("max_bins", (63, 127, 255)),
            )
        )

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {
            "learning_rate": 0.1,
            "max_leaf_nodes": 31,
            "min_samples_leaf": 20,
            "l2_regularization": OFF,
            "max_features": 1.0,
            "max_bins": 255,
        }

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
    ) -> "HistFit":
        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        settings["l2_regularization"] = penalty(settings["l2_regularization"])
        levels = zip(data.categorical, data.levels, strict=True)
        native = [column for column, count in levels if count <= settings["max_bins"]]
        quantile = {} if data.quantile is None else {"loss": "quantile", "quantile": data.quantile}
        estimator = _estimator(data.task)(
            **settings,
            **quantile,
            max_iter=1,
            warm_start=True,
            early_stopping=False,
            categorical_features=native or None,
            random_state=library_seed(seed),
        )
        return HistFit(estimator, data, train, valid, threads)

    def load(self, folder: Path, task: Task, n_classes: int) -> SklearnModel:
        return load_model(folder, task, n_classes, _estimator(task), _importances)


class HistFit:
    """A warm-started estimator. Each start bins the rows and predicts them again, so few, long steps are cheaper."""

    def __init__(self, estimator: Any, data: Data, train: Rows, valid: Rows | None, threads: int) -> None:
        self.rounds = 0
        self._estimator = estimator
        self._task = data.task
        self._x, self._y = data.x_of(train), data.y[train]
        self._weight = normalised_weight(data, train)
        self._x_valid = None if valid is None else data.x_of(valid)
        self._threads = threads

    def advance(self, rounds: int) -> None:
        if rounds <= self.rounds:
            return
        self._fit(self._estimator, rounds)
        self.rounds = rounds

    def predict_valid(self) -> Prediction:
        from threadpoolctl import threadpool_limits

        assert self._x_valid is not None, "this fit has no validation rows"
        with threadpool_limits(self._threads, user_api="openmp"):
            return finite(predict_estimator(self._estimator, self._x_valid, self._task))

    def model(self, rounds: int | None = None) -> SklearnModel:
        """The model; it is trained anew for fewer rounds: the library has no public way to drop the last trees."""
        from sklearn.base import clone

        steps = check_rounds(rounds, self.rounds)
        if steps == self.rounds:
            estimator = copy.deepcopy(self._estimator)
        else:
            estimator = clone(self._estimator)
            self._fit(estimator, steps)
        return SklearnModel(estimator, self._task, _importances)

    def _fit(self, estimator: Any, rounds: int) -> None:
        from threadpoolctl import threadpool_limits

        with library_refusals(), threadpool_limits(self._threads, user_api="openmp"):
            estimator.set_params(max_iter=rounds).fit(self._x, self._y, sample_weight=self._weight)


def _estimator(task: Task) -> type:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return HistGradientBoostingClassifier if task.classifies else HistGradientBoostingRegressor


def _importances(estimator: Any) -> Vector:
    """(columns,) total gain of each column's splits, read from the trees: the library publishes no importances."""
    gains = np.zeros(estimator.n_features_in_)
    for tree in (tree for trees in estimator._predictors for tree in trees):
        inner = tree.nodes[tree.nodes["is_leaf"] == 0]
        np.add.at(gains, inner["feature_idx"], inner["gain"])
    if estimator.is_categorical_ is None:
        return gains
    # The estimator moves its categorical columns to the front.
    columns = np.arange(len(gains))
    moved = np.concatenate([columns[estimator.is_categorical_], columns[~estimator.is_categorical_]])
    return gains[np.argsort(moved)]
