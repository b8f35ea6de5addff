"""Ensemble definitions: the member models and the rule that combines their predictions, as data that JSON can hold."""

import json
from typing import TypeAlias

import numpy as np

from optagent.arrays import Matrix, Prediction
from optagent.codec import decode, plain
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.average import HardVote, MemberPredictions, WeightedMean
from optagent.training.stack import Stack

Combined: TypeAlias = WeightedMean | HardVote | Stack

KINDS: dict[str, type[WeightedMean] | type[HardVote] | type[Stack]] = {
    "weighted_mean": WeightedMean,
    "hard_vote": HardVote,
    "stack": Stack,
}


def combine(combined: Combined, predictions: MemberPredictions, x: Matrix | None = None) -> Prediction:
    """One prediction made of several, in the shape that families give; `x` are the encoded features, for a stack that
    has columns.

    Predictions of models that are not members are ignored. Raises InvalidData for a member's prediction that is
    missing, is not finite, or has other rows or classes than the rest.
    """
    first = combined.names[0]
    for name in combined.names:
        if name not in predictions:
            raise InvalidData(f"{name}: a member of the ensemble, has no prediction")
        if predictions[name].ndim != (2 if combined.task is Task.MULTICLASS else 1):
            raise InvalidData(
                f"{name}: not the prediction of a {combined.task} model, its shape is {predictions[name].shape}"
            )
        if predictions[name].shape != predictions[first].shape:
            raise InvalidData(
                f"{name}: predictions of shape {predictions[name].shape}, those of {first} {predictions[first].shape}"
            )
        if not np.isfinite(predictions[name]).all():
            raise InvalidData(f"{name}: a prediction is not finite")
    return combined.combine(predictions, x)


def to_json(combined: Combined) -> bytes:
    return json.dumps(plain(combined), indent=1).encode()


def from_json(data: bytes | str) -> Combined:
    """The ensemble that `to_json` wrote; raises InvalidRequest."""
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise InvalidRequest(f"not the weights of an ensemble: {error}") from None
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidRequest(f"unknown kind of ensemble {kind!r}; one of {sorted(KINDS)}")
    return decode(KINDS[kind], fields)
