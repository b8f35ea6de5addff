"""An ensemble that is itself a small linear model, of what its members say and, where asked for, of features."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.average import Said, check_names, values, weighted_sum

CLIP = 1e-6
"""Probabilities nearer to 0 or 1 are taken for this: a logarithm of nothing would outvote every other model."""


@dataclass(frozen=True, slots=True)
class StackColumn:
    """An original feature in a stack: standardised (0 where missing), times one coefficient an output."""

    position: int
    mean: float
    scale: float
    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """A linear model of the members' answers: their logits (binary), log-probabilities (multiclass) or values.

    `intercepts` has one number, or one a class. `columns` are of the encoded features of the model.
    """

    task: Task
    names: tuple[str, ...]
    weights: tuple[float, ...]
    intercepts: tuple[float, ...]
    columns: tuple[StackColumn, ...] = ()
    kind: Literal["stack"] = "stack"

    def __post_init__(self) -> None:
        check_names(self.names, self.weights)
        numbers = [*self.weights, *self.intercepts, *(each for one in self.columns for each in one.coefficients)]
        if not self.intercepts or not all(map(math.isfinite, numbers)):
            raise InvalidRequest("a stack needs finite weights, intercepts and coefficients")
        for one in self.columns:
            if len(one.coefficients) != len(self.intercepts) or not one.scale > 0:
                raise InvalidRequest(f"column {one.position}: a coefficient an output, and a scale above 0, are needed")

    def combine(self, said: Said, x: Matrix | None = None) -> Prediction:
        outputs = weighted_sum(self.names, self.weights, lambda name: stacked_input(self.task, values(said, name)))
        outputs = outputs + (self.intercepts[0] if outputs.ndim == 1 else np.asarray(self.intercepts))
        for column in self.columns:
            if x is None or x.ndim != 2 or x.shape[1] <= column.position:
                raise InvalidData("this stack needs the features of the rows, too, as its members are given them")
            standard = standardised(x[:, column.position], column.mean, column.scale)
            terms = np.multiply.outer(standard, np.asarray(column.coefficients))
            outputs = outputs + (terms[:, 0] if outputs.ndim == 1 else terms)
        return stacked_output(self.task, outputs)


def stacked_input(task: Task, said: Prediction) -> Prediction:
    """What a stack hears of a model."""
    if task is Task.REGRESSION:
        return said
    clipped = np.clip(said, CLIP, 1 - CLIP)
    return np.log(clipped) - np.log1p(-clipped) if task is Task.BINARY else np.log(clipped)


def stacked_output(task: Task, outputs: Prediction) -> Prediction:
    """What a stack says of (rows[, classes]) sums."""
    if task is Task.REGRESSION:
        return outputs
    if task is Task.BINARY:
        tail = np.exp(-np.abs(outputs))
        return np.where(outputs >= 0, 1.0, tail) / (1 + tail)
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    total = shares[:, 0].copy()
    for index in range(1, shares.shape[1]):
        total += shares[:, index]
    return shares / total[:, None]


def standardised(values: npt.NDArray[Any], mean: float, scale: float) -> Vector:
    found = (values.astype(np.float64) - mean) / scale
    return np.where(np.isfinite(found), found, 0.0)
