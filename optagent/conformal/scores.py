"""Nonconformity scores: the distance of an outcome from its answer, and the scale on which thresholds move.

The score of a value is its distance from the answer (Lei et al. 2018). That of a label is 1 minus its probability
(Sadinle, Lei and Wasserman 2019), and 0 for the most probable label, which is in every set: no set is empty.
"""

import numpy as np

from optagent.arrays import Prediction, Vector
from optagent.domain.model import Task

_SHARES = (0.4, 0.9999)  # a label that is not the most probable one scores at least one half
_GREATEST = 1e300


def nonconformity_scores(task: Task, prediction: Prediction, y: Vector) -> Vector:
    """(rows,) scores of outcomes: `prediction` as `Predictor.scores`, `y` (rows,) values or class indexes."""
    if task is Task.REGRESSION:
        return np.abs(y - prediction)
    code = y.astype(np.int64)
    if task is Task.BINARY:
        of_label = np.where(code == 1, prediction, 1.0 - prediction)
        is_first = (prediction >= 0.5) == (code == 1)
    else:
        of_label = prediction[np.arange(len(code)), code]
        is_first = prediction.argmax(axis=1) == code
    return np.where(is_first, 0.0, 1.0 - of_label)


class ScoreScale:
    """Scores on the scale on which a step is a share of the threshold: the logarithm, for probabilities log-odds.

    `floor` is the least score of a regression that counts as one; nearer outcomes are as good as exact.
    """

    def __init__(self, task: Task, floor: float) -> None:
        self._is_share, self._floor = task.classifies, floor
        self.low = float(self.to_scale(np.zeros(1))[0])
        self.high = float(self.to_scale(np.full(1, _GREATEST))[0])

    def to_scale(self, scores: Vector) -> Vector:
        if not self._is_share:
            return np.log(np.clip(scores, self._floor, _GREATEST))
        shares = np.clip(scores, *_SHARES)
        return np.log(shares / (1.0 - shares))

    def to_scores(self, places: Vector) -> Vector:
        """The scores at places of the scale; above its end every label is in the set."""
        if not self._is_share:
            return np.exp(places)
        return np.where(places >= self.high, 1.0, 1.0 / (1.0 + np.exp(-places)))
