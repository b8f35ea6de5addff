"""The bounds of a confidence sequence after every block of many runs, computed at once from cumulated sums."""

import numpy as np
import numpy.typing as npt

from optagent.sequential.confidence_sequence import FEWEST, FEWEST_EFFECTIVE, effective_rows, radius

Vector = npt.NDArray[np.float64]


def running_bounds(rows: Vector, alpha: float, horizon: int, block: int = 1) -> tuple[Vector, Vector]:
    """The lower and upper bounds after each whole block of (..., rows) values, infinite where there is no interval."""
    whole = rows[..., : rows.shape[-1] // block * block]
    means = whole.reshape(*rows.shape[:-1], -1, block).mean(axis=-1)
    power, fourth = (np.cumsum(whole**exponent, axis=-1)[..., block - 1 :: block] for exponent in (2, 4))
    deviations = means - means[..., :1]
    count = np.arange(1, means.shape[-1] + 1)
    center = np.cumsum(deviations, axis=-1) / count
    enough = (count >= FEWEST) & (effective_rows(power, fourth) >= FEWEST_EFFECTIVE)
    width = radius(count, _spread(deviations, count, center), alpha, horizon / block)
    mean, width = means[..., :1] + center, np.where(enough, width, np.inf)
    return mean - width, mean + width


def _spread(deviations: Vector, count: npt.NDArray[np.int64], center: Vector) -> Vector:
    """After each block, the standard deviation of all so far with twice the covariance of neighbours, if above 0."""
    before = np.concatenate([np.zeros_like(deviations[..., :1]), deviations[..., :-1]], axis=-1)
    squares, products = (np.cumsum(deviations * other, axis=-1) for other in (deviations, before))
    own = (squares - count * center**2) / np.maximum(1, count - 1)
    shared = (products - center * (2 * count * center - deviations) + (count - 1) * center**2) / count
    return np.sqrt(np.maximum(0.0, own) + 2 * np.maximum(0.0, shared))
