"""A fitted scikit-learn estimator as a model: it predicts probabilities or values and is kept as a skops file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import CorruptBundle
from optagent.training.families import skops_file
from optagent.training.families.feasible import check_columns, class_count, shares

FILE = "model.skops"

Importances = Callable[[Any], Vector]
"""(columns,) how much an estimator leans on each column, on any scale."""


def predicted(estimator: Any, x: Matrix, task: Task) -> Prediction:
    """What the estimator predicts, in the shape that the task asks for."""
    if task is Task.REGRESSION:
        return np.asarray(estimator.predict(x), dtype=np.float64)
    probabilities = np.asarray(estimator.predict_proba(x), dtype=np.float64)
    return probabilities[:, 1] if task is Task.BINARY else probabilities


class SklearnModel:
    """An estimator, or a pipeline that ends in one, that takes the matrix as it is."""

    def __init__(self, estimator: Any, task: Task, importances: Importances) -> None:
        self._estimator = estimator
        self._task = task
        self._importances = importances

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._estimator.n_features_in_)
        return predicted(self._estimator, x, self._task)

    def save(self, folder: Path) -> None:
        skops_file.save(self._estimator, folder / FILE)

    def importances(self) -> Vector:
        return shares(self._importances(self._estimator))


def load_model(folder: Path, task: Task, n_classes: int, expected: Any, importances: Importances) -> SklearnModel:
    """The model of a folder, whose last estimator must be of the `expected` type and know the task's classes."""
    from sklearn.pipeline import Pipeline

    loaded = skops_file.load(folder / FILE)
    estimator: Any = loaded.steps[-1][1] if type(loaded) is Pipeline else loaded
    if type(estimator) is not expected:
        raise CorruptBundle(f"{FILE}: a {expected.__name__} is needed, got a {type(estimator).__name__}")
    if task.classifies and not np.array_equal(estimator.classes_, np.arange(class_count(task, n_classes))):
        raise CorruptBundle(f"{FILE}: a model of {class_count(task, n_classes)} classes is needed")
    return SklearnModel(loaded, task, importances)
