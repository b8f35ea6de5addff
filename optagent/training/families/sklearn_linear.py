"""Linear family: logistic regression and ridge regression, on imputed, scaled and encoded columns."""

from collections.abc import Mapping
from math import ceil, inf
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, SearchSpace
from optagent.training.families.family import Cache
from optagent.training.families.feasible import (
    check_rounds,
    check_rows,
    finite,
    library_refusals,
    normalised_weight,
)
from optagent.training.families.params import complete_params, library_seed
from optagent.training.families.sklearn_columns import forget_folds, linear_columns, sum_by_column
from optagent.training.families.sklearn_model import SklearnModel, load_model, predict_estimator
from optagent.training.problem import Data

FULL_ROUNDS = 81
_FEWEST_ROWS = 30
_MAX_ITERATIONS = 500


class Linear:
    """The family of linear models. No fit reuses the one before, so a round is a share of the training rows: 1/81."""

    name = "linear"
    rounds_per_unit = 1
    default_rounds = FULL_ROUNDS
    score_growth = inf
    limits: Mapping[str, tuple[float, float]] = {"C": (1e-8, 1e8), "alpha": (1e-8, 1e8)}

    def supports(self, task: Task) -> bool:
        return True

    def space(self, task: Task) -> SearchSpace:
        strength = Float("C", 1e-4, 1e3, log=True) if task.classifies else Float("alpha", 1e-3, 1e4, log=True)
        return SearchSpace((strength, Categorical("scaling", ("standard", "quantile"))))

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {"C" if task.classifies else "alpha": 1.0, "scaling": "standard"}

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
    ) -> "LinearFit":
        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        return LinearFit(settings, data, train, valid, library_seed(seed), threads)

    def load(self, folder: Path, task: Task, n_classes: int) -> SklearnModel:
        return load_model(folder, task, n_classes, _estimator(task), _importances)


class LinearFit:
    """A fit on the first rows of one fixed order, so that the rows of fewer rounds are among those of more."""

    def __init__(
        self, settings: Mapping[str, Any], data: Data, train: Rows, valid: Rows | None, seed: int, threads: int
    ) -> None:
        self.rounds = 0
        self._settings = dict(settings)
        self._data = data
        self._rows = train[_stratified_positions(data, train, seed)]
        self._valid = valid
        self._seed = seed
        self._threads = threads
        self._pipeline: Any = None

    def advance(self, rounds: int) -> None:
        if rounds <= self.rounds:
            return
        self._pipeline = self._fit(rounds)
        self.rounds = rounds

    def predict_valid(self) -> Prediction:
        assert self._valid is not None, "this fit has no validation rows"
        return finite(predict_estimator(self._pipeline, self._data.x_of(self._valid), self._data.task))

    def model(self, rounds: int | None = None) -> SklearnModel:
        steps = check_rounds(rounds, self.rounds)
        pipeline = self._pipeline if steps == self.rounds else self._fit(steps)
        _store_means(pipeline, self._data.x_of(self._rows_of(steps)))
        return SklearnModel(pipeline, self._data.task, _importances)

    def _fit(self, rounds: int) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.pipeline import Pipeline
        from threadpoolctl import threadpool_limits

        rows = self._rows_of(rounds)
        y = self._data.y[rows]
        scaling = self._settings["scaling"]
        pipeline = Pipeline(
            [
                ("columns", linear_columns(self._data, y, self._seed, scaling)),
                ("model", self._estimator()),
            ]
        )
        with library_refusals(), threadpool_limits(self._threads), catch_warnings():
            # Unscaled or separable data: the last iterate still predicts, and its score measures how well.
            simplefilter("ignore", ConvergenceWarning)
            pipeline.fit(self._data.x_of(rows), y, model__sample_weight=normalised_weight(self._data, rows))
        forget_folds(pipeline["columns"])
        return pipeline

    def _rows_of(self, rounds: int) -> Rows:
        return self._rows[: max(_FEWEST_ROWS, ceil(len(self._rows) * rounds / FULL_ROUNDS))]

    def _estimator(self) -> Any:
        strength = {name: value for name, value in self._settings.items() if name != "scaling"}
        if self._data.task.classifies:
            strength["max_iter"] = _MAX_ITERATIONS
        return _estimator(self._data.task)(**strength, random_state=self._seed)


def _stratified_positions(data: Data, train: Rows, seed: int) -> Rows:
    """Positions in `train`, shuffled; for classifiers one row of each class comes first, and then each class is spread
    evenly over the rest."""
    shuffled = np.random.default_rng(seed).permutation(len(train))
    if not data.task.classifies:
        return shuffled
    labels = data.y[train[shuffled]]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = -1.0
    return shuffled[np.argsort(place, kind="stable")]


def _store_means(pipeline: Any, x: Matrix) -> None:
    """Has the estimator keep the means of its columns on the training rows, from which its reasons are told."""
    pipeline["model"].column_means_ = np.asarray(pipeline["columns"].transform(x), dtype=np.float64).mean(axis=0)


def _estimator(task: Task) -> type:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression if task.classifies else Ridge


def _importances(pipeline: Any) -> Vector:
    """(columns,) absolute coefficients, which the scaling makes comparable."""
    weights = np.abs(np.atleast_2d(pipeline["model"].coef_)).sum(axis=0)
    return sum_by_column(pipeline["columns"], weights)
