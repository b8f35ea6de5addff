"""Out-of-fold members from the predictions of each fold: every row is predicted by models that had not seen it, or left
out."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.ensembles.members import Members, members_of
from optagent.errors import InvalidData
from optagent.training.problem import Fold, average_repeats


def out_of_fold(
    task: Task, y: Vector, folds: Sequence[Fold], predictions: Mapping[str, Sequence[Prediction]]
) -> tuple[Members, Rows]:
    """Members on the rows that some fold validates, ascending, and the positions of those rows in `y`.

    `predictions` holds, by model, a prediction of each fold's validation rows; a row that several folds validate has
    the mean of theirs. Raises InvalidData for a fold that trains on one of its validation rows, and for a model without
    a prediction for every fold.
    """
    rows = _validation_rows(folds)
    members = {name: _in_row_order(name, parts, folds) for name, parts in predictions.items()}
    return members_of(task, members, y[rows]), rows


def _validation_rows(folds: Sequence[Fold]) -> Rows:
    if not folds:
        raise InvalidData("no fold, so that no row is predicted out of fold")
    for number, fold in enumerate(folds, 1):
        overlap = len(np.intersect1d(fold.train, fold.valid))
        if overlap:
            raise InvalidData(f"fold {number}: {overlap} rows are validated that it is trained on")
    return np.unique(np.concatenate([fold.valid for fold in folds]))


def _in_row_order(name: str, parts: Sequence[Prediction], folds: Sequence[Fold]) -> Prediction:
    if len(parts) != len(folds):
        raise InvalidData(f"{name}: predictions of {len(parts)} folds, there are {len(folds)}")
    for number, (part, fold) in enumerate(zip(parts, folds, strict=True), 1):
        if len(part) != len(fold.valid):
            raise InvalidData(f"{name}: {len(part)} predictions for the {len(fold.valid)} rows of fold {number}")
    rows, prediction = average_repeats(np.concatenate([fold.valid for fold in folds]), np.concatenate(parts))
    return prediction[np.argsort(rows, kind="stable")]
