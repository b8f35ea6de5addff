"""Many weightings of the same members at once: what each says, without a matrix of it all in memory."""

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

    def of(self, block: Block, scale: Vector, shift: Vector) -> Block:
        """(weightings, rows): what each says of (models, rows), times a scale and shifted, each of (rows,)."""
        ...

    def each(self, members: Members) -> Iterator[Prediction]:
        """The whole prediction of one weighting after the other."""
        ...

    def squares(self, gram: Matrix64) -> Vector:
        """(weightings,) of w'·gram·w."""
        ...


class OneMoreDraw:
    """The mean of those drawn so far and one candidate more, a weighting a candidate."""

    def __init__(self, counts: Counts, candidates: Rows) -> None:
        self._counts = counts.astype(np.float64)
        self._candidates = candidates
        self._share = 1.0 / (int(counts.sum()) + 1)

    def __len__(self) -> int:
        return len(self._candidates)

    def of(self, block: Block, scale: Vector, shift: Vector) -> Block:
        # Scaled while it is mixed: a pass over the block less for each of the two is a third of the time.
        mixed = block[span_of(self._candidates) or self._candidates] * (scale * self._share)
        mixed += (self._counts * self._share) @ block * scale + shift
        return mixed

    def each(self, members: Members) -> Iterator[Prediction]:
        drawn = np.zeros(members.predictions.shape[1:])
        for index in members.by_name[self._counts[members.by_name] > 0]:
            drawn += self._counts[index] * members.predictions[index]
        for candidate in self._candidates:
            yield (drawn + members.predictions[candidate]) * self._share

    def squares(self, gram: Matrix64) -> Vector:
        toward = gram @ self._counts
        alone = np.diag(gram)[self._candidates]
        return (self._counts @ toward + 2 * toward[self._candidates] + alone) * self._share**2


class GivenWeightings:
    """(weightings, models) weights, as they are."""

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    def of(self, block: Block, scale: Vector, shift: Vector) -> Block:
        mixed = self._weights @ block
        mixed *= scale
        mixed += shift
        return mixed

    def each(self, members: Members) -> Iterator[Prediction]:
        for weights in self._weights:
            yield mean_of(members, weights)

    def squares(self, gram: Matrix64) -> Vector:
        return np.einsum("ij,ij->i", self._weights @ gram, self._weights)


def mean_of(members: Members, weights: Vector) -> Prediction:
    """What one weighting says, summed in the order of names: the same whatever the order of the models."""
    said = np.zeros(members.predictions.shape[1:])
    for index in members.by_name[weights[members.by_name] > 0]:
        said += weights[index] * members.predictions[index]
    return np.clip(said, 0.0, 1.0, out=said) if members.task.classifies else said
