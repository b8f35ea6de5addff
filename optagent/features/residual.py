"""What a model leaves unexplained out of fold, and what chance would make of it."""

import numpy as np
import numpy.typing as npt

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task

Residual = npt.NDArray[np.float64]
"""(rows, components)."""

MOST_COMPONENTS = 3
_CUT = 0.005  # the share of rows at either end that may not stand out further than the rest


def components_of(task: Task, n_classes: int) -> int:
    return min(n_classes - 1, MOST_COMPONENTS) if task is Task.MULTICLASS else 1


def residual_of(y: Vector, prediction: Prediction, task: Task) -> Residual:
    """Truth less prediction, uncorrelated components of mean 0 and variance 1.

    Out of fold, a prediction that knows nothing is noise of the model's own making, which features that resemble it
    would seem to explain. So the prediction counts by the slope that the truth has on it, 0 at least. Several classes
    become their few principal components.
    """
    said = prediction[:, None] if prediction.ndim == 1 else prediction
    truth = y[:, None] if prediction.ndim == 1 else (y[:, None] == np.arange(prediction.shape[1])).astype(np.float64)
    said, truth = said - said.mean(axis=0), truth - truth.mean(axis=0)
    spread = float(np.square(said).sum())
    slope = max(0.0, float((said * truth).sum()) / spread) if spread > 0 else 0.0
    left = truth - slope * said
    if task is Task.REGRESSION:
        left = np.clip(left, *np.quantile(left, [_CUT, 1 - _CUT]))
    return standard(left @ _directions(left, components_of(task, left.shape[1])) if left.shape[1] > 1 else left)


def standard(residual: Residual) -> Residual:
    """Mean 0 and variance 1; zeros where nothing is left."""
    centred = residual - residual.mean(axis=0)
    spread = centred.std(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)


def chance(
    residual: Residual, parts: npt.NDArray[np.int64], draws: int, rng: np.random.Generator, ordered: bool
) -> npt.NDArray[np.float32]:
    """(draws, rows, components) in which no row has its own residual, but each one of its part (fold).

    Rows in time order are shifted in a circle instead of permuted, so that neighbours stay neighbours.
    """
    found = np.empty((draws, *residual.shape), dtype=np.float32)
    for part in np.unique(parts):
        rows: Rows = np.flatnonzero(parts == part)
        for draw in range(draws):
            moved = np.roll(rows, rng.integers(1, max(2, len(rows)))) if ordered else rng.permutation(rows)
            found[draw, rows] = residual[moved]
    return found


def _directions(left: Residual, count: int) -> npt.NDArray[np.float64]:
    _, vectors = np.linalg.eigh(left.T @ left)
    return vectors[:, ::-1][:, :count]
