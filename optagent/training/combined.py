"""An ensemble as data: which models, how their answers become one, and nothing that cannot be written as JSON."""

import json
from typing import TypeAlias

import numpy as np

from optagent.arrays import Matrix, Prediction
from optagent.codec import decode, plain
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.average import HardVote, Said, WeightedMean
from optagent.training.stack import Stack

Combined: TypeAlias = WeightedMean | HardVote | Stack

KINDS: dict[str, type[WeightedMean] | type[HardVote] | type[Stack]] = {
    "weighted_mean": WeightedMean,
    "hard_vote": HardVote,
    "stack": Stack,
}


def combine(combined: Combined, said: Said, x: Matrix | None = None) -> Prediction:
    """One prediction of several, as a family gives it; `x` are the encoded features, for a stack that has columns.

    Models that are not among the ensemble's are ignored. Raises InvalidData for one that is missing, is not finite, or
    is of other rows or classes than the rest.
    """
    first = combined.names[0]
    for name in combined.names:
        if name not in said:
            raise InvalidData(f"{name}: a member of the ensemble, has no prediction")
        if said[name].ndim != (2 if combined.task is Task.MULTICLASS else 1):
            raise InvalidData(f"{name}: not the prediction of a {combined.task} model, its shape is {said[name].shape}")
        if said[name].shape != said[first].shape:
            raise InvalidData(f"{name}: predictions of shape {said[name].shape}, those of {first} {said[first].shape}")
        if not np.isfinite(said[name]).all():
            raise InvalidData(f"{name}: a prediction is not finite")
    return combined.combine(said, x)


def to_json(combined: Combined) -> bytes:
    return json.dumps(plain(combined), indent=1).encode()


def from_json(data: bytes | str) -> Combined:
    """Exactly what was written; raises InvalidRequest."""
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise InvalidRequest(f"not the weights of an ensemble: {error}") from None
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidRequest(f"unknown kind of ensemble {kind!r}; one of {sorted(KINDS)}")
    return decode(KINDS[kind], fields)
