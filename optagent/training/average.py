"""Averaging ensembles: the weighted mean of the models' predictions, or of their votes for a label."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.errors import InvalidRequest

MemberPredictions = Mapping[str, npt.NDArray[Any]]
"""Each model's prediction, by name."""


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """The mean of the models' predictions, by weights above 0 that sum to 1."""

    task: Task
    names: tuple[str, ...]
    weights: tuple[float, ...]
    kind: Literal["weighted_mean"] = "weighted_mean"

    def __post_init__(self) -> None:
        _check_weights(self.names, self.weights)

    def combine(self, predictions: MemberPredictions, x: Matrix | None = None) -> Prediction:
        total = weighted_sum(self.names, self.weights, lambda name: member_prediction(predictions, name))
        return np.minimum(total, 1.0) if self.task.classifies else total


@dataclass(frozen=True, slots=True)
class HardVote:
    """The share of votes that each label gets; a model has as many votes as its weight."""

    task: Task
    names: tuple[str, ...]
    weights: tuple[float, ...]
    kind: Literal["hard_vote"] = "hard_vote"

    def __post_init__(self) -> None:
        _check_weights(self.names, self.weights)
        if not self.task.classifies:
            raise InvalidRequest("a regression has no labels to vote for; use the mean")

    def combine(self, predictions: MemberPredictions, x: Matrix | None = None) -> Prediction:
        return np.minimum(
            weighted_sum(self.names, self.weights, lambda name: _label_votes(member_prediction(predictions, name))), 1.0
        )


def weighted_sum(names: tuple[str, ...], weights: tuple[float, ...], term: Callable[[str], Prediction]) -> Prediction:
    """The weighted sum of the models' terms.

    It is added up model by model and never by a matrix product, so that one row gets the same answer, to the last bit,
    as among a million.
    """
    total = weights[0] * term(names[0])
    for name, weight in zip(names[1:], weights[1:], strict=True):
        total += weight * term(name)
    return total


def member_prediction(predictions: MemberPredictions, name: str) -> Prediction:
    return np.asarray(predictions[name], dtype=np.float64)


def check_names(names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    if not names or len(set(names)) != len(names) or len(names) != len(weights):
        raise InvalidRequest(f"an ensemble needs different names with a weight each, got {names} and {weights}")


def _label_votes(prediction: Prediction) -> Prediction:
    if prediction.ndim == 1:
        return (prediction >= 0.5).astype(np.float64)
    return (prediction.argmax(axis=1)[:, None] == np.arange(prediction.shape[1])).astype(np.float64)


def _check_weights(names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    check_names(names, weights)
    if not all(weight > 0 for weight in weights) or abs(math.fsum(weights) - 1) > 1e-9:
        raise InvalidRequest(f"weights must be above 0 and sum to 1, got {weights}")
