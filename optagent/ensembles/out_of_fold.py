"""Out-of-fold members from the predictions of each fold: every row is predicted by models that had not seen it, or left
out."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.ensembles.members import Members, members_of
from optagent.errors import InvalidData
from optagent.training.problem import Fold


def out_of_fold(
    task: Task, y: Vector, folds: Sequence[Fold], predictions: Mapping[str, Sequence[Prediction]]
) -> tuple[Members, Rows]:
    """Members on the rows that some fold validates, ascending, and the positions of those rows in `y`.

    `predictions` holds, by model, a prediction of each fold's validation rows. Raises InvalidData for folds that share
    a validation row or train on one of their own, and for a model without a prediction for every fold.
    """
    rows = _validation_rows(folds)
    members = {name: _in_row_order(name, parts, folds, rows) for name, parts in predictions.items()}
    return members_of(task, members, y[rows]), rows


def _validation_rows(folds: Sequence[Fold]) -> Rows:
    if not folds:
        raise InvalidData("no fold, so that no row is predicted out of fold")
    for number, fold in enumerate(folds, 1):
        overlap = len(np.intersect1d(fold.train, fold.valid))
        if overlap:
            raise InvalidData(f"fold {number}: {overlap} rows are validated that it is trained on")
    rows, times = np.unique(np.concatenate([fold.valid for fold in folds]), return_counts=True)
    if (times > 1).any():
        raise InvalidData(f"row {rows[times > 1][0]} is validated by more than one fold")
    return rows


def _in_row_order(name: str, parts: Sequence[Prediction], folds: Sequence[Fold], rows: Rows) -> Prediction:
    if len(parts) != len(folds):
        raise InvalidData(f"{name}: predictions of {len(parts)} folds, there are {len(folds)}")
    for number, (part, fold) in enumerate(zip(parts, folds, strict=True), 1):
        if len(part) != len(fold.valid):
            raise InvalidData(f"{name}: {len(part)} predictions for the {len(fold.valid)} rows of fold {number}")
    joined = np.concatenate(parts)
    return joined[np.argsort(np.concatenate([fold.valid for fold in folds]), kind="stable")]
