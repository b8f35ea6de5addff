"""Imported scikit-learn models: trained elsewhere, they predict here and are never trained here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import CorruptBundle
from optagent.training.families import skops_file
from optagent.training.families.feasible import check_columns, class_count
from optagent.training.families.loaded_only import LoadedOnly
from optagent.training.families.sklearn_model import FILE

ORDER = "classes.json"


class ImportedSklearn(LoadedOnly):
    """The family of imported scikit-learn models, which loads the models that an import stored."""

    name = "sklearn_imported"
    why = "an imported scikit-learn model cannot be trained anew: tune families of optagent instead"

    def load(self, folder: Path, task: Task, n_classes: int) -> "ImportedSklearnModel":
        count = class_count(task, n_classes)
        try:
            order = [int(position) for position in json.loads((folder / ORDER).read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise CorruptBundle(f"{ORDER}: {error}") from error
        if sorted(order) != list(range(count)):
            raise CorruptBundle(f"{ORDER}: an order of {count} classes is needed, got {order}")
        return ImportedSklearnModel(skops_file.load(folder / FILE), task, order)


class ImportedSklearnModel:
    """An imported estimator; `order` has the estimator's column for each of our classes, and is empty for a
    regression."""

    def __init__(self, estimator: Any, task: Task, order: Sequence[int]) -> None:
        method = "predict_proba" if task.classifies else "predict"
        columns = getattr(estimator, "n_features_in_", None)
        if not hasattr(estimator, method) or columns is None:
            raise CorruptBundle(f"{FILE}: a fitted model with {method} is needed, got a {type(estimator).__name__}")
        if task.classifies and len(estimator.classes_) != len(order):
            raise CorruptBundle(f"{FILE}: a model of {len(order)} classes is needed")
        if not task.classifies and hasattr(estimator, "classes_"):
            raise CorruptBundle(f"{FILE}: a regression is needed, got a {type(estimator).__name__}")
        self._estimator = estimator
        self._task = task
        self._order = list(order)
        self._columns = int(columns)
        # Steps that pick their columns by name need the names.
        self._names = getattr(estimator, "feature_names_in_", None)

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._columns)
        rows: Any = x
        if self._names is not None:
            import pandas as pd

            rows = pd.DataFrame(x, columns=self._names)
        if not self._task.classifies:
            return np.asarray(self._estimator.predict(rows), dtype=np.float64).reshape(len(x))
        probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=np.float64)[:, self._order]
        return probabilities[:, 1] if self._task is Task.BINARY else probabilities

    def save(self, folder: Path) -> None:
        skops_file.save(self._estimator, folder / FILE)
        (folder / ORDER).write_text(json.dumps(self._order), encoding="utf-8")

    def importances(self) -> Vector:
        """Zeros: a pipeline that we did not make may derive anything from its columns."""
        return np.zeros(self._columns)
