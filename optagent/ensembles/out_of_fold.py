"""From what models said fold by fold to members: every row by models that had not seen it, or not at all."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.ensembles.members import Members, members_of
from optagent.errors import InvalidData
from optagent.training.problem import Fold


def out_of_fold(
    task: Task, y: Vector, folds: Sequence[Fold], said: Mapping[str, Sequence[Prediction]]
) -> tuple[Members, Rows]:
    """Members on the rows that some fold validates, ascending, and which rows of `y` those are.

    `said` holds, by model, a prediction of each fold's validation rows. Raises InvalidData for folds that share a
    validation row or train on one of their own, and for a model that did not answer every fold.
    """
    rows = _validated(folds)
    members = {name: _laid_out(name, parts, folds, rows) for name, parts in said.items()}
    return members_of(task, members, y[rows]), rows


def _validated(folds: Sequence[Fold]) -> Rows:
    if not folds:
        raise InvalidData("no fold, so that no row is predicted out of fold")
    for number, fold in enumerate(folds, 1):
        seen = len(np.intersect1d(fold.train, fold.valid))
        if seen:
            raise InvalidData(f"fold {number}: {seen} rows are validated that it is trained on")
    rows, times = np.unique(np.concatenate([fold.valid for fold in folds]), return_counts=True)
    if (times > 1).any():
        raise InvalidData(f"row {rows[times > 1][0]} is validated by more than one fold")
    return rows


def _laid_out(name: str, parts: Sequence[Prediction], folds: Sequence[Fold], rows: Rows) -> Prediction:
    if len(parts) != len(folds):
        raise InvalidData(f"{name}: predictions of {len(parts)} folds, there are {len(folds)}")
    for number, (part, fold) in enumerate(zip(parts, folds, strict=True), 1):
        if len(part) != len(fold.valid):
            raise InvalidData(f"{name}: {len(part)} predictions for the {len(fold.valid)} rows of fold {number}")
    laid_out = np.concatenate(parts)
    return laid_out[np.argsort(np.concatenate([fold.valid for fold in folds]), kind="stable")]
