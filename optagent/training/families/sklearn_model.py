"""Fitted scikit-learn estimators as models: they predict probabilities or values and are stored as skops files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import CorruptBundle
from optagent.training.families import skops_file
from optagent.training.families.feasible import check_columns, class_count, normalise_importances

FILE = "model.skops"

Importances = Callable[[Any], Vector]
"""(columns,) the weight of each column in an estimator, on any scale."""


def predict_estimator(estimator: Any, x: Matrix, task: Task) -> Prediction:
    """The estimator's prediction in the shape that the task needs."""
    if task is Task.REGRESSION:
        return np.asarray(estimator.predict(x), dtype=np.float64)
    probabilities = np.asarray(estimator.predict_proba(x), dtype=np.float64)
    return probabilities[:, 1] if task is Task.BINARY else probabilities


class SklearnModel:
    """A model whose estimator, or pipeline that ends in one, takes the encoded matrix as it is."""

    def __init__(self, estimator: Any, task: Task, importances: Importances) -> None:
        self._estimator = estimator
        self._task = task
        self._importances = importances

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._estimator.n_features_in_)
        return predict_estimator(self._estimator, x, self._task)

    def save(self, folder: Path) -> None:
        skops_file.save(self._estimator, folder / FILE)

    def importances(self) -> Vector:
        return normalise_importances(self._importances(self._estimator))


def load_model(folder: Path, task: Task, n_classes: int, expected: Any, importances: Importances) -> SklearnModel:
    """The model in a folder; CorruptBundle unless its last estimator has the `expected` type and the task's classes."""
    from sklearn.pipeline import Pipeline

    loaded = skops_file.load(folder / FILE)
    estimator: Any = loaded.steps[-1][1] if type(loaded) is Pipeline else loaded
    if type(estimator) is not expected:
        raise CorruptBundle(f"{FILE}: a {expected.__name__} is needed, got a {type(estimator).__name__}")
    if task.classifies and not np.array_equal(estimator.classes_, np.arange(class_count(task, n_classes))):
        raise CorruptBundle(f"{FILE}: a model of {class_count(task, n_classes)} classes is needed")
    return SklearnModel(loaded, task, importances)
