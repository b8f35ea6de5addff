"""Feasibility checks of training: rows and weights, columns and rounds, the libraries' errors and predictions."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.errors import Infeasible, InvalidData, InvalidRequest
from optagent.training.problem import Data


def class_count(task: Task, n_classes: int) -> int:
    """The number of classes that a model of that task distinguishes; 0 for a regression."""
    return {Task.BINARY: 2, Task.REGRESSION: 0}.get(task, n_classes)


def check_rows(data: Data, train: Rows) -> None:
    """Raises Infeasible for training rows that are none, lack a class or all weigh 0; InvalidData for bad weights."""
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
    """Turns a library's error about parameters or data into Infeasible with the library's message."""
    refusals: tuple[type[Exception], ...] = (ValueError, ArithmeticError, *errors)
    try:
        yield
    except InvalidRequest:
        raise
    except refusals as error:
        raise Infeasible(str(error).strip() or type(error).__name__) from error


def finite(prediction: Prediction) -> Prediction:
    """`prediction` itself; raises Infeasible where a value is not finite."""
    if not np.isfinite(prediction).all():
        raise Infeasible("the model predicts values that are not finite numbers")
    return prediction


def check_columns(x: Matrix, columns: int) -> None:
    """Raises InvalidData unless `x` is a matrix with as many columns as the model has learned from."""
    if x.ndim != 2 or x.shape[1] != columns:
        raise InvalidData(f"the model takes a matrix of {columns} columns, got an array of shape {x.shape}")


def check_rounds(rounds: int | None, most: int) -> int:
    """The steps to cut a model back to, by default `most`, all of its steps; InvalidRequest outside 1 to `most`."""
    if rounds is None:
        rounds = most
    if not 1 <= rounds <= most:
        raise InvalidRequest(f"rounds must be between 1 and the {most} that were trained, got {rounds}")
    return rounds


def normalise_importances(values: Vector) -> Vector:
    """The importances scaled to sum to 1, or zeros where their sum is 0."""
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
