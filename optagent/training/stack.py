"""Stacked ensemble: a small linear model of its members' predictions and, where it has columns, of features."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.average import MemberPredictions, check_names, member_prediction, weighted_sum

CLIP = 1e-6
"""Probabilities nearer to 0 or 1 are clipped to this: the logarithm of 0 would outvote every other model."""


@dataclass(frozen=True, slots=True)
class StackColumn:
    """An original feature in a stack: standardised (0 where missing), times one coefficient per output."""

    position: int
    mean: float
    scale: float
    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """A linear model of the members' predictions: their logits (binary), log-probabilities (multiclass) or values.

    `intercepts` has one number, or one per class. `columns` are among the encoded features of the model.
    """

    task: Task
    names: tuple[str, ...]
    weights: tuple[float, ...]
    intercepts: tuple[float, ...]
    columns: tuple[StackColumn, ...] = ()
    kind: Literal["stack"] = "stack"

    def __post_init__(self) -> None:
        check_names(self.names, self.weights)
        numbers = [
            *self.weights,
            *self.intercepts,
            *(coefficient for column in self.columns for coefficient in column.coefficients),
        ]
        if not self.intercepts or not all(map(math.isfinite, numbers)):
            raise InvalidRequest("a stack needs finite weights, intercepts and coefficients")
        for column in self.columns:
            if len(column.coefficients) != len(self.intercepts) or not column.scale > 0:
                raise InvalidRequest(
                    f"column {column.position}: a coefficient an output, and a scale above 0, are needed"
                )

    def combine(self, predictions: MemberPredictions, x: Matrix | None = None) -> Prediction:
        outputs = weighted_sum(
            self.names, self.weights, lambda name: apply_link(self.task, member_prediction(predictions, name))
        )
        outputs = outputs + (self.intercepts[0] if outputs.ndim == 1 else np.asarray(self.intercepts))
        for column in self.columns:
            if x is None or x.ndim != 2 or x.shape[1] <= column.position:
                raise InvalidData("this stack needs the features of the rows, too, as its members are given them")
            standard = standardise(x[:, column.position], column.mean, column.scale)
            terms = np.multiply.outer(standard, np.asarray(column.coefficients))
            outputs = outputs + (terms[:, 0] if outputs.ndim == 1 else terms)
        return invert_link(self.task, outputs)


def apply_link(task: Task, prediction: Prediction) -> Prediction:
    """A model's prediction on the scale on which a stack adds: logits, log-probabilities or values."""
    if task is Task.REGRESSION:
        return prediction
    clipped = np.clip(prediction, CLIP, 1 - CLIP)
    return np.log(clipped) - np.log1p(-clipped) if task is Task.BINARY else np.log(clipped)


def invert_link(task: Task, outputs: Prediction) -> Prediction:
    """The stack's prediction from its (rows[, classes]) sums: the inverse of `apply_link`."""
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


def standardise(values: npt.NDArray[Any], mean: float, scale: float) -> Vector:
    scaled = (values.astype(np.float64) - mean) / scale
    return np.where(np.isfinite(scaled), scaled, 0.0)
