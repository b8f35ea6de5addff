"""CatBoost model: a booster read back from a plain form of CatBoost's own JSON, so that the saved one predicts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import Infeasible
from optagent.training.families.feasible import check_columns, class_count, library_refusals, normalise_importances

if TYPE_CHECKING:
    import catboost

FILE = "model.json"
LOSSES = {Task.BINARY: "Logloss", Task.MULTICLASS: "MultiClass", Task.REGRESSION: "RMSE"}
MISSING = -1
"""The category that a missing or unknown code becomes."""

_FEW_ROWS = 8  # up to so many, a list of values is read sooner than a data frame is made
_SOURCE_PLACE = re.compile(r"^catboost/\S+: ")


class CatBoostModel:
    """A booster of a plain `document`, see `catboost_json`."""

    def __init__(self, document: Mapping[str, Any], task: Task) -> None:
        self.document = document
        features = document["features_info"]
        self.categorical = tuple(each["flat_feature_index"] for each in features.get("categorical_features", ()))
        self.columns = len(features.get("float_features", ())) + len(self.categorical)
        self._task = task
        self._text = json.dumps(document, separators=(",", ":"), allow_nan=False)
        self._booster = _load_booster(self._text)

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self.columns)
        return predict_scores(self._booster, to_rows(x, self.categorical), self._task)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(self._text, encoding="utf-8", newline="\n")

    def importances(self) -> Vector:
        """The mean change of the prediction by a column (CatBoost's PredictionValuesChange)."""
        changes = np.asarray(self._booster.get_feature_importance(), dtype=np.float64)
        return normalise_importances(np.maximum(changes, 0.0))

    def contributions(self, x: Matrix) -> Prediction:
        """(rows, columns) SHAP values of the margin (Lundberg et al. 2020); of several classes, their sizes summed."""
        values = self._booster.get_feature_importance(self._pool(x), type="ShapValues", thread_count=1)
        # The last value of each class is its expected value.
        by_class = np.asarray(values, dtype=np.float64).reshape(len(x), -1, self.columns + 1)[:, :, :-1]
        return by_class[:, 0] if by_class.shape[1] == 1 else np.abs(by_class).sum(axis=1)

    def leaf_numbers(self, x: Matrix, first: int, last: int) -> npt.NDArray[np.int64]:
        """(rows, last - first) the leaf in each of these trees; bit d of its number is the truth of split number d."""
        numbers = self._booster.calc_leaf_indexes(self._pool(x), first, last, thread_count=1)
        return np.asarray(numbers, dtype=np.int64)

    def _pool(self, x: Matrix) -> catboost.Pool:
        import catboost

        check_columns(x, self.columns)
        return catboost.Pool(to_rows(x, self.categorical), cat_features=list(self.categorical))


def predict_scores(booster: catboost.CatBoost, rows: Any, task: Task, threads: int = 1) -> Prediction:
    """The prediction for rows in a form of CatBoost's."""
    kind = "Probability" if task.classifies else "RawFormulaVal"
    scores = np.asarray(booster.predict(rows, prediction_type=kind, thread_count=threads), dtype=np.float64)
    return np.ascontiguousarray(scores[:, 1]) if task is Task.BINARY else scores


def to_rows(x: Matrix, categorical: Sequence[int]) -> Any:
    """Encoded rows as CatBoost takes them: codes are whole numbers, and a missing one is `MISSING`."""
    if not categorical:
        return np.ascontiguousarray(x)
    codes = np.where(np.isnan(x[:, categorical]), MISSING, x[:, categorical]).astype(np.int32)
    if len(x) <= _FEW_ROWS:
        rows = x.tolist()
        for row, codes_of_row in zip(rows, codes.tolist(), strict=True):
            for column, code in zip(categorical, codes_of_row, strict=True):
                row[column] = code
        return rows
    import pandas as pd

    columns: dict[int, Any] = {column: x[:, column] for column in range(x.shape[1])}
    columns |= {column: codes[:, place] for place, column in enumerate(categorical)}
    return pd.DataFrame(columns, copy=False)


def output_count(task: Task, n_classes: int) -> int:
    """The values of a leaf: one for each of several classes, otherwise one."""
    return class_count(task, n_classes) if task is Task.MULTICLASS else 1


def booster_text(booster: catboost.CatBoost) -> str:
    """CatBoost's own JSON of a booster, which it writes into files only."""
    with TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        booster.save_model(str(path), format="json")
        return path.read_text(encoding="utf-8")


@contextmanager
def catboost_refusals() -> Iterator[None]:
    """Turns CatBoost's errors about parameters or data into Infeasible, without the place in its source."""
    import catboost

    try:
        with library_refusals():
            yield
    except catboost.CatBoostError as error:
        raise Infeasible(_SOURCE_PLACE.sub("", str(error).strip()) or type(error).__name__) from error


def _load_booster(text: str) -> catboost.CatBoost:
    import catboost

    booster = catboost.CatBoost()
    with TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        path.write_text(text, encoding="utf-8")
        booster.load_model(str(path), format="json")
    return booster
