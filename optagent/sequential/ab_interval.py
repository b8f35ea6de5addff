"""A/B interval: the improvement of one arm of split traffic on the other, from requests with matured outcomes.

Each row estimates without bias what both arms would have lost: its loss over the chance of its arm (Horvitz and
Thompson 1952). So shares may change as often as one likes. Rows count in the order of requests, and only up to the
first that has not matured: otherwise outcomes that come sooner when they are bad would decide by themselves.
"""

import math

import numpy as np
import numpy.typing as npt

from optagent.arrays import Mask, Units, Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.sequential.confidence_sequence import FEWEST_EFFECTIVE, check_finite, effective_rows, radius


def count_matured_rows(matured: Mask) -> int:
    """The number of requests before the first that has not matured."""
    waiting = np.flatnonzero(~matured)
    return int(waiting[0]) if len(waiting) else len(matured)


def improvements(candidate: Mask, share: Vector, loss: Vector) -> Vector:
    """(rows,) values whose expectation is the loss of the champion less that of the candidate.

    `share` is the chance that the row had to go to the candidate. The mean loss of earlier rows is taken off first,
    which changes no expectation and takes off most of the variance.
    """
    wrong = np.flatnonzero(~((share > 0) & (share < 1)))
    if len(wrong):
        raise InvalidData(f"a share must be between 0 and 1, row {wrong[0]} has {share[wrong[0]]}")
    losses = check_finite(loss)
    before = np.cumsum(losses) - losses
    centred = losses - before / np.maximum(1, np.arange(len(losses)))
    return centred * np.where(candidate, -1 / share, 1 / (1 - share))


def split_interval(
    values: Vector, candidate: Mask, share: Vector, alpha: float, horizon: float, units: Units | None = None
) -> Interval | None:
    """The interval of the mean of `improvements`, valid at every look; None for too few rows or units.

    A row has the weight share * (1 - share): at equal weights, rows of a share of 5 % would hide later ones of 50 %.
    With `units` (rows,), such as the sticky keys of the requests, rows of one unit count as going together.
    """
    took = int(np.count_nonzero(candidate))
    if min(took, len(values) - took) < FEWEST_EFFECTIVE:
        return None
    weights = share * (1 - share)
    mean = float(weights @ values / weights.sum())
    sums = weights * (values - mean)
    alone = float(sums @ sums)
    if units is not None:
        sums = np.bincount(np.unique(units, return_inverse=True)[1], weights=sums).astype(np.float64)
    together = float(sums @ sums)
    if effective_rows(together, float((sums**2) @ (sums**2))) < FEWEST_EFFECTIVE:
        return None
    spread = math.sqrt(alone / (len(values) - 1)) / float(weights.mean())
    width = float(radius(len(values), spread, alpha, horizon, max(1.0, together / alone)))
    return Interval(mean, mean - width, mean + width, alpha)


def first_rows_of_units(units: Units) -> npt.NDArray[np.int64]:
    """The positions of the first row of each unit, in their order: the only row of the unit whose arm was drawn."""
    return np.sort(np.unique(units, return_index=True)[1])
