"""What can be trained and what cannot: rows, weights, the libraries' refusals and their predictions."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.errors import Infeasible, InvalidData, InvalidRequest
from optagent.training.problem import Data


def class_count(task: Task, n_classes: int) -> int:
    """How many classes a model of that task tells apart; 0 for a regression."""
    return {Task.BINARY: 2, Task.REGRESSION: 0}.get(task, n_classes)


def check_rows(data: Data, train: Rows) -> None:
    """Raises Infeasible for training rows that are none, lack a class or weigh nothing; InvalidData for bad weights."""
    if not len(train):
        raise Infeasible("there are no training rows")
    if data.task.classifies:
        expected = class_count(data.task, data.n_classes)
        missing = sorted(set(range(expected)) - {int(label) for label in np.unique(data.y[train])})
        if missing:
            raise Infeasible(f"of {expected} classes, the training rows lack {missing}")
    normalised_weight(data, train)


def normalised_weight(data: Data, rows: Rows | None = None) -> Vector | None:
    """The weights of `rows` (all by default) with mean 1, so that penalties mean the same whatever their scale."""
    if data.weight is None:
        return None
    weight = data.weight if rows is None else data.weight[rows]
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise InvalidData("weights must be finite and at least 0")
    if not weight.any():
        raise Infeasible("all training rows weigh 0")
    return weight / weight.mean()


@contextmanager
def library_refusals(*errors: type[Exception]) -> Iterator[None]:
    """Turns a library's refusal of parameters or data into Infeasible with the library's words."""
    refusals: tuple[type[Exception], ...] = (ValueError, ArithmeticError, *errors)
    try:
        yield
    except InvalidRequest:
        raise
    except refusals as error:
        raise Infeasible(str(error).strip() or type(error).__name__) from error


def finite(prediction: Prediction) -> Prediction:
    """`prediction`; raises Infeasible where it is not a number."""
    if not np.isfinite(prediction).all():
        raise Infeasible("the model predicts values that are not finite numbers")
    return prediction


def check_columns(x: Matrix, columns: int) -> None:
    """Raises InvalidData unless `x` is a matrix of as many columns as the model has learned from."""
    if x.ndim != 2 or x.shape[1] != columns:
        raise InvalidData(f"the model takes a matrix of {columns} columns, got an array of shape {x.shape}")


def check_rounds(asked: int | None, trained: int) -> int:
    """The steps to cut a model back to; InvalidRequest outside 1 to what was trained."""
    rounds = trained if asked is None else asked
    if not 1 <= rounds <= trained:
        raise InvalidRequest(f"rounds must be between 1 and the {trained} that were trained, got {rounds}")
    return rounds


def shares(values: Vector) -> Vector:
    """Importances that sum to 1, or zeros where there are none."""
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
