"""Weightings of the same members, many at once: their mixed predictions block by block, never all in memory."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optagent.arrays import Counts, Matrix64, Prediction, Rows, Vector
from optagent.ensembles.members import Members
from optagent.ensembles.moments import Block
from optagent.training.problem import span_of


class Weightings(Protocol):
    """Several weightings, each of which sums to 1."""

    def __len__(self) -> int: ...

    def mix_block(self, block: Block, scale: Vector, shift: Vector) -> Block:
        """(weightings, rows): the mixes of (models, rows) predictions, times a scale and plus a shift, each of
        (rows,)."""
        ...

    def each_prediction(self, members: Members) -> Iterator[Prediction]:
        """The prediction on all rows, one weighting after the other."""
        ...

    def squares(self, gram: Matrix64) -> Vector:
        """(weightings,) of w'·gram·w, which is the mean squared error."""
        ...


class OneMoreDraw:
    """The mean of the models drawn so far and one candidate more: one weighting for each candidate."""

    def __init__(self, counts: Counts, candidates: Rows) -> None:
        self._counts = counts.astype(np.float64)
        self._candidates = candidates
        self._share = 1.0 / (int(counts.sum()) + 1)

    def __len__(self) -> int:
        return len(self._candidates)

    def mix_block(self, block: Block, scale: Vector, shift: Vector) -> Block:
        # Scaling during the mix saves a pass over the block each for scale and shift, a third of the time.
        mixed = block[span_of(self._candidates) or self._candidates] * (scale * self._share)
        mixed += (self._counts * self._share) @ block * scale + shift
        return mixed

    def each_prediction(self, members: Members) -> Iterator[Prediction]:
        total = np.zeros(members.predictions.shape[1:])
        for index in members.by_name[self._counts[members.by_name] > 0]:
            total += self._counts[index] * members.predictions[index]
        for candidate in self._candidates:
            yield (total + members.predictions[candidate]) * self._share

    def squares(self, gram: Matrix64) -> Vector:
        gradient = gram @ self._counts
        alone = np.diag(gram)[self._candidates]
        return (self._counts @ gradient + 2 * gradient[self._candidates] + alone) * self._share**2


class GivenWeightings:
    """The weightings of a (weightings, models) matrix."""

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    def mix_block(self, block: Block, scale: Vector, shift: Vector) -> Block:
        mixed = self._weights @ block
        mixed *= scale
        mixed += shift
        return mixed

    def each_prediction(self, members: Members) -> Iterator[Prediction]:
        for weights in self._weights:
            yield mean_of(members, weights)

    def squares(self, gram: Matrix64) -> Vector:
        return np.einsum("ij,ij->i", self._weights @ gram, self._weights)


def mean_of(members: Members, weights: Vector) -> Prediction:
    """The prediction of one weighting, summed in the order of names, so that the order of the models does not
    matter."""
    prediction = np.zeros(members.predictions.shape[1:])
    for index in members.by_name[weights[members.by_name] > 0]:
        prediction += weights[index] * members.predictions[index]
    return np.clip(prediction, 0.0, 1.0, out=prediction) if members.task.classifies else prediction
