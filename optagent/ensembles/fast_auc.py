"""The area under the ROC curve of one long vector of scores, as fast as a sort of small integers is."""

import numpy as np
import numpy.typing as npt

from optagent.arrays import Prediction, Vector
from optagent.errors import InvalidData

Bits = npt.NDArray[np.uint32]

_LEVELS = 2**31 - 1


def area(y: Vector, prediction: Prediction) -> float:
    """Of class 1, or the mean over the classes that occur, each against the rest, as the metric `auc`.

    Scores are told apart in 2**31 levels between the smallest and the largest one. Raises InvalidData where all rows
    are of one class.
    """
    if prediction.ndim == 1:
        return _one_class(y == 1, prediction)
    found = [_one_class(y == index, prediction[:, index]) for index in np.unique(y).astype(np.int64)]
    return float(np.mean(found))


def _one_class(positive: npt.NDArray[np.bool_], scores: Vector) -> float:
    """The level of a score with the class as its last bit: sorted, the places of the ones are the ranks (Mann and
    Whitney 1947), and no permutation is needed, which would take thrice the time."""
    positives = int(np.count_nonzero(positive))
    pairs = positives * (len(positive) - positives)
    if not pairs:
        raise InvalidData("auc: all rows are of one class")
    keys = _levels(scores)
    keys <<= 1
    keys |= positive
    keys.sort()
    places = float((keys & 1).astype(np.float64) @ np.arange(len(keys), dtype=np.float64))  # below 2**53: exact
    won = places - positives * (positives - 1) / 2
    return (won - 0.5 * _tied_pairs(keys)) / pairs


def _levels(scores: Vector) -> Bits:
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.zeros(len(scores), dtype=np.uint32)
    scaled = scores - low
    scaled /= high - low
    scaled *= _LEVELS
    return scaled.astype(np.uint32)


def _tied_pairs(keys: Bits) -> int:
    """Pairs of one level: within it the zeros come first, so that each level of both classes has one border."""
    borders = np.flatnonzero((keys[1:] ^ keys[:-1]) == 1)
    below = borders + 1 - np.searchsorted(keys, keys[borders], side="left")
    above = np.searchsorted(keys, keys[borders + 1], side="right") - (borders + 1)
    return int((below * above).sum())
