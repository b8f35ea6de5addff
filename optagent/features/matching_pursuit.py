"""Matching pursuit of features (Mallat and Zhang 1993): from many survivors that explain the same to the few that
explain it best, one at a time, each tested on what the earlier ones leave.

The plain columns compete. A residual that one column explains by itself, such as a bend that the model has not followed
yet, is removed with that column, and no combination gets the credit for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.features.basis import Curves, curves, hat_basis, ranks
from optagent.features.residual import Residual, standardise

_PLAIN_FACTOR = 1.01
"""A plain column is taken where a combination explains no more than this times as much."""
_MOST_COLUMNS = 40  # plain columns that may be taken on the way


@dataclass(frozen=True, slots=True)
class PursuitStep:
    """A candidate by its position, with the statistic it had when it was taken."""

    index: int
    statistic: float


def pursue(
    plain: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    residual: Residual,
    rows: npt.NDArray[np.bool_],
    height: float,
    most: int,
    flexible: bool = True,
) -> tuple[PursuitStep, ...]:
    """At most `most` of the candidates, each above `height` after the better ones have been removed from the residual.

    Both matrices are (features, all rows); `residual` (all rows, components) is known on `rows`.
    """
    values = np.concatenate([plain, candidates])
    shapes = curves(values, flexible)[:, :, rows]
    lengths = np.square(shapes).sum(axis=2)
    weight = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0.05 * rows.mean())
    factor = np.where(np.arange(len(values)) < len(plain), _PLAIN_FACTOR, 1.0)
    free = np.ones(len(values))
    rest = standardise(residual[rows])
    directions_so_far = np.full((int(rows.sum()), 1), rows.sum() ** -0.5)
    steps: list[PursuitStep] = []
    for _ in range(most + _MOST_COLUMNS):
        statistics = np.einsum("fdc,fd->f", np.square(shapes @ rest.astype(np.float32)), weight) * free
        best = int(np.argmax(statistics * factor))
        if statistics[best] <= height or len(steps) == most:
            break
        free[best] = 0.0
        if best >= len(plain):
            steps.append(PursuitStep(best - len(plain), float(statistics[best])))
        basis = hat_basis(ranks(values[best][None])[0])[rows] if flexible else shapes[best].T
        directions = _new_directions(directions_so_far, basis.astype(np.float64))
        rest = standardise(rest - directions @ (directions.T @ rest))
        directions_so_far = np.column_stack([directions_so_far, directions])
    return tuple(steps)


def steadiness(shapes: Curves, residual: Residual, parts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(features,): the share of the residual that each explains in the part of the rows where that share is smallest.

    `shapes` are curves on these rows. The share is of the residual's variance, less the share expected by chance.
    """
    shares = []
    for part in np.unique(parts):
        rows = parts == part
        inside = shapes[:, :, rows]
        lengths = np.square(inside).sum(axis=2)
        along = np.square(inside @ standardise(residual[rows]).astype(np.float32)).sum(axis=2)
        chi = np.divide(along, lengths, out=np.zeros_like(lengths), where=lengths > 0).sum(axis=1)
        shares.append((chi - (lengths > 0).sum(axis=1)) / max(1, rows.sum()))
    return np.min(shares, axis=0)


def _new_directions(known_directions: Residual, shape: Residual) -> Residual:
    """Orthonormal directions of a shape that are not among those taken already."""
    rest = shape - known_directions @ (known_directions.T @ shape)
    rest -= known_directions @ (known_directions.T @ rest)  # a second time, against rounding
    sizes, vectors = np.linalg.eigh(rest.T @ rest)
    real = sizes > 1e-8 * max(1.0, float(sizes[-1]))
    return rest @ (vectors[:, real] / np.sqrt(sizes[real]))
