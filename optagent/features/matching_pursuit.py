"""From many survivors that say the same to the few that say it best: one at a time, each against what is then left.

Matching pursuit (Mallat and Zhang 1993). The plain columns compete: a residual that one column explains by itself, such
as a bend that the model has not followed yet, is taken out with that column, and no combination is credited for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.features.basis import Curves, curves, hats, ranks
from optagent.features.residual import Residual, standard

_FAVOUR = 1.01
"""A plain column is taken where a combination explains no more than this times as much."""
_MOST_COLUMNS = 40  # plain ones that may be taken out on the way


@dataclass(frozen=True, slots=True)
class PursuitStep:
    """A candidate by its position, with the statistic it had when its turn came."""

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
    """At most `most` of the candidates that are above `height` when the better ones have had their say.

    Both matrices are (features, all rows); `residual` (all rows, components) is known on `rows`.
    """
    values = np.concatenate([plain, candidates])
    shapes = curves(values, flexible)[:, :, rows]
    lengths = np.square(shapes).sum(axis=2)
    weight = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0.05 * rows.mean())
    favour = np.where(np.arange(len(values)) < len(plain), _FAVOUR, 1.0)
    free = np.ones(len(values))
    left = standard(residual[rows])
    taken = np.full((int(rows.sum()), 1), rows.sum() ** -0.5)
    found: list[PursuitStep] = []
    for _ in range(most + _MOST_COLUMNS):
        statistics = np.einsum("fdc,fd->f", np.square(shapes @ left.astype(np.float32)), weight) * free
        best = int(np.argmax(statistics * favour))
        if statistics[best] <= height or len(found) == most:
            break
        free[best] = 0.0
        if best >= len(plain):
            found.append(PursuitStep(best - len(plain), float(statistics[best])))
        shape = hats(ranks(values[best][None])[0])[rows] if flexible else shapes[best].T
        fresh = _beside(taken, shape.astype(np.float64))
        left = standard(left - fresh @ (fresh.T @ left))
        taken = np.column_stack([taken, fresh])
    return tuple(found)


def steadiness(shapes: Curves, residual: Residual, parts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(features,): how much of the residual each explains in the part of the rows where it explains the least.

    `shapes` are curves on these rows; the share is of the residual's variance, less what chance gives.
    """
    found = []
    for part in np.unique(parts):
        rows = parts == part
        inside = shapes[:, :, rows]
        lengths = np.square(inside).sum(axis=2)
        along = np.square(inside @ standard(residual[rows]).astype(np.float32)).sum(axis=2)
        chi = np.divide(along, lengths, out=np.zeros_like(lengths), where=lengths > 0).sum(axis=1)
        found.append((chi - (lengths > 0).sum(axis=1)) / max(1, rows.sum()))
    return np.min(found, axis=0)


def _beside(taken: Residual, shape: Residual) -> Residual:
    """Orthonormal directions of a shape that are not among those taken already."""
    rest = shape - taken @ (taken.T @ shape)
    rest -= taken @ (taken.T @ rest)  # once more, for what rounding left
    sizes, vectors = np.linalg.eigh(rest.T @ rest)
    real = sizes > 1e-8 * max(1.0, float(sizes[-1]))
    return rest @ (vectors[:, real] / np.sqrt(sizes[real]))
