"""Second moments of residuals: all that squared errors and error correlations need of the predictions.

The residual of a row is prediction less truth; for several classes, probability less 1 or 0, one cell a class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidData

Block = npt.NDArray[np.float64]
"""(models, rows) or (models, rows, classes) predictions of some neighbouring rows."""

MAX_MODELS = 2000
"""The square matrix of more models than these takes more memory than a large matrix of predictions."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments over all rows.

    `gram` holds the means over rows of the product of two residuals, summed over classes, so that w'·gram·w is the mean
    squared error (the Brier score) of weights w that sum to 1. `correlation` is Pearson's.
    """

    gram: Matrix64
    correlation: Matrix64


def moments_of(models: int, blocks: Iterable[tuple[Vector, Block]]) -> Moments:
    """The moments from the truth and the predictions of all rows, in blocks.

    Raises InvalidData for too many models, and for values too large to be squared.
    """
    if models > MAX_MODELS:
        raise InvalidData(f"{models} models are too many to compare in pairs: at most {MAX_MODELS}")
    rows, cells, sums, products = 0, 0, np.zeros(models), np.zeros((models, models))
    with np.errstate(over="ignore", invalid="ignore"):
        for y, block in blocks:
            residuals = _residuals(block, y)
            rows, cells = rows + len(y), cells + residuals.shape[1]
            products += residuals @ residuals.T
            sums += residuals.sum(axis=1)
    if not np.isfinite(products).all():
        raise InvalidData("the errors of a member are too large to be squared")
    means = sums / cells
    return Moments(products / rows, _correlation(products / cells - np.outer(means, means)))


def _residuals(block: Block, y: Vector) -> Block:
    truth = y if block.ndim == 2 else y[:, None] == np.arange(block.shape[2])
    return (block - truth).reshape(len(block), -1)


def _correlation(covariance: Matrix64) -> Matrix64:
    """Pearson correlation; a member whose residual never varies correlates fully with others of that kind, and with no
    one else."""
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    varies = spread > 1e-9 * float(spread.max())
    scale = np.where(varies, spread, 1.0)
    correlation = np.where(
        np.outer(varies, varies), covariance / np.outer(scale, scale), np.equal.outer(varies, varies)
    )
    np.fill_diagonal(correlation, 1.0)
    return np.clip(correlation, -1.0, 1.0)
