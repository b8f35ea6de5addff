"""Checks of a matrix of predictions before anything is learned from it: errors for what is wrong, notes for what is
odd."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest

Cells = npt.NDArray[Any]
"""(models, rows) or (models, rows, classes), float32 or float64; or one model of them."""

_SUM_TOLERANCE = 1e-3  # of the probabilities of a row, which may have been rounded to float32 or to a few digits


def check_names(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise InvalidData(f"an ensemble needs at least 2 models, got {len(names)}: {', '.join(names) or 'none'}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidRequest(f"{', '.join(twice)}: a model is a member once; repeat it by its weight")


def check_shape(task: Task, names: tuple[str, ...], predictions: Cells, y: Vector) -> None:
    shape, expected = predictions.shape, 3 if task is Task.MULTICLASS else 2
    if len(shape) != expected:
        layout = "(models, rows, classes)" if expected == 3 else "(models, rows)"
        raise InvalidData(f"predictions of a {task} model are {layout}, got shape {shape}")
    if shape[0] != len(names):
        raise InvalidData(f"{len(names)} names for {shape[0]} models")
    if shape[1] != len(y):
        raise InvalidData(f"{shape[1]} predictions a model for {len(y)} rows")
    if not shape[1]:
        raise InvalidData("an ensemble needs rows to learn from, got none")


def check_truth(task: Task, y: Vector, columns: int) -> None:
    if y.ndim != 1 or not np.isfinite(y).all():
        raise InvalidData(f"y must be one finite number a row, got shape {y.shape}")
    if not task.classifies:
        return
    classes = 2 if task is Task.BINARY else columns
    wrong = y[(y < 0) | (y >= classes) | (y != np.floor(y))]
    if len(wrong):
        raise InvalidData(f"y holds {wrong[0]:g}, a class is a whole number from 0 to {classes - 1}")


def check_values(name: str, prediction: Cells, task: Task) -> None:
    # The minimum is NaN where any value is; a mask would need a copy.
    low, high = float(prediction.min()), float(prediction.max())
    if math.isnan(low):
        missing = int(np.isnan(prediction).reshape(len(prediction), -1).any(axis=1).sum())
        raise InvalidData(f"{name}: {missing} of {len(prediction)} rows are NaN: they were not predicted out of fold")
    if math.isinf(low) or math.isinf(high):
        raise InvalidData(f"{name}: a prediction is infinite")
    if not task.classifies:
        return
    if low < 0 or high > 1:
        worst = low if low < 0 else high
        raise InvalidData(f"{name}: a probability is between 0 and 1, got {worst:g}")
    if prediction.ndim == 2:
        sums = prediction.sum(axis=1)
        worst = float(sums[np.argmax(np.abs(sums - 1))])
        if abs(worst - 1) > _SUM_TOLERANCE:
            raise InvalidData(f"{name}: the probabilities of a row sum to 1, got {worst:g}")


def check_costs(names: tuple[str, ...], label: str, costs: tuple[float, ...] | None) -> None:
    if costs is None:
        return
    if len(costs) != len(names):
        raise InvalidData(f"{label}: {len(costs)} values for {len(names)} models")
    for name, cost in zip(names, costs, strict=True):
        if not (math.isfinite(cost) and cost >= 0):
            raise InvalidData(f"{name}: {label} must be a number of at least 0, got {cost}")


def notes_on_identical(predictions: Mapping[str, Cells]) -> Iterator[str]:
    """A sentence for each model that repeats an earlier one to the last bit."""
    first_by_digest: dict[bytes, str] = {}
    for name, prediction in predictions.items():
        first = first_by_digest.setdefault(
            hashlib.blake2b(np.ascontiguousarray(prediction).data, digest_size=16).digest(), name
        )
        if first != name:
            yield f"{name} says exactly what {first} says"


def notes_on_constant(predictions: Mapping[str, Cells]) -> Iterator[str]:
    """A sentence for each model whose prediction is the same for every row."""
    for name, prediction in predictions.items():
        if (prediction == prediction[0]).all():
            yield f"{name} says the same of every row"
