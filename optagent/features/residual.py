"""Out-of-fold residuals of a model, and their permutations under the null hypothesis."""

import numpy as np
import numpy.typing as npt

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.model import Task

Residual = npt.NDArray[np.float64]
"""(rows, components)."""

MOST_COMPONENTS = 3
_CUT = 0.005  # the share of rows at either end whose values are clipped


def components_of(task: Task, n_classes: int) -> int:
    return min(n_classes - 1, MOST_COMPONENTS) if task is Task.MULTICLASS else 1


def residual_of(y: Vector, prediction: Prediction, task: Task) -> Residual:
    """Truth less prediction, as uncorrelated components of mean 0 and variance 1.

    Out of fold, an uninformative prediction is noise made by the model itself, and features that resemble it would seem
    to explain it. The prediction is therefore scaled by the slope of the truth on it, 0 at least. Several classes
    become their first principal components.
    """
    centred_prediction = prediction[:, None] if prediction.ndim == 1 else prediction
    truth = y[:, None] if prediction.ndim == 1 else (y[:, None] == np.arange(prediction.shape[1])).astype(np.float64)
    centred_prediction, truth = centred_prediction - centred_prediction.mean(axis=0), truth - truth.mean(axis=0)
    spread = float(np.square(centred_prediction).sum())
    slope = max(0.0, float((centred_prediction * truth).sum()) / spread) if spread > 0 else 0.0
    residual = truth - slope * centred_prediction
    if task is Task.REGRESSION:
        residual = np.clip(residual, *np.quantile(residual, [_CUT, 1 - _CUT]))
    return standardise(
        residual @ _directions(residual, components_of(task, residual.shape[1])) if residual.shape[1] > 1 else residual
    )


def standardise(residual: Residual) -> Residual:
    """The residual with mean 0 and variance 1; zeros where nothing is left."""
    centred = residual - residual.mean(axis=0)
    spread = centred.std(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)


def permuted_residuals(
    residual: Residual, parts: npt.NDArray[np.int64], draws: int, rng: np.random.Generator, ordered: bool
) -> npt.NDArray[np.float32]:
    """(draws, rows, components) in which each row has the residual of another row of its part (fold).

    Rows in time order are shifted in a circle instead of permuted, so that neighbours stay neighbours.
    """
    permuted = np.empty((draws, *residual.shape), dtype=np.float32)
    for part in np.unique(parts):
        rows: Rows = np.flatnonzero(parts == part)
        for draw in range(draws):
            sources = np.roll(rows, rng.integers(1, max(2, len(rows)))) if ordered else rng.permutation(rows)
            permuted[draw, rows] = residual[sources]
    return permuted


def _directions(residual: Residual, count: int) -> npt.NDArray[np.float64]:
    _, vectors = np.linalg.eigh(residual.T @ residual)
    return vectors[:, ::-1][:, :count]
