"""Interval tracker: thresholds that keep their coverage on any sequence of rows, with labels at once or late.

A threshold is the conformal quantile of the newest scores (Vovk, Gammerman and Shafer 2005; Lei et al. 2018) plus a
correction that moves up with each row that its level missed, and down with each that it covered, by such steps that it
rests where the share of misses is right: adaptive conformal inference (Gibbs and Candes 2021) in the form of a
conformal PID controller, its quantile tracking beside a forecast of the score (Angelopoulos, Candes and Tibshirani
2023). Rows are judged by the thresholds that answered them, so that late labels cannot break the sum. While scores stay
within a range of R on the tracker's scale and the step is the same, the share of misses of T rows is within
(R + 4) / (step * T) of 1 - level, with labels at once; each row that waits for its label adds 1 / T at most.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.conformal.scores import ScoreScale
from optagent.domain.model import Task
from optagent.domain.prediction_interval import LEVELS
from optagent.errors import InvalidData

Thresholds = npt.NDArray[np.float64]

LEAST_SCORES = 100
"""Labelled rows of a holdout below which the highest level has no finite threshold."""

MOST_SCORES = 300
"""The newest scores whose quantiles are the thresholds before their correction."""

_QUICK = 10
_DECAY = 0.9
_BEYOND = 3.0
_EXACT = 1e-6


class IntervalTracker:
    """Thresholds for `LEVELS` that follow the labels. The same rows in the same batches give the same state.

    A step is a tenth where labels come at once, and smaller where `lag` rows are learned between a row's
    answer and its label: a correction that is larger than what the labels can tell would swing.
    """

    def __init__(self, task: Task, scores: Vector) -> None:
        """Starts by split conformal from the scores of rows that the model was not trained on, the newest last.

        Raises InvalidData for too few of them.
        """
        scores = np.asarray(scores, dtype=np.float64)
        if len(scores) < LEAST_SCORES or not np.isfinite(scores).all():
            raise InvalidData(
                f"intervals need at least {LEAST_SCORES} labelled rows of the holdout, got"
                f" {int(np.isfinite(scores).sum())}: give the model more data, or a larger holdout_fraction"
            )
        self._start(task, _EXACT * float(scores.max()) or _EXACT)
        places = self._scale.to_scale(scores)
        self.newest: Vector = _thin(places)  # not the newest of the holdout: one burst among them would count for all
        self.corrections = _conformal_quantiles(places) - _conformal_quantiles(self.newest)
        self.rows, self.lag = 0, 0.0

    def _start(self, task: Task, floor: float) -> None:
        self.task, self.floor = task, floor
        self._scale = ScoreScale(task, floor)

    @property
    def thresholds(self) -> Thresholds:
        """(levels,) the scores up to which an outcome is covered, in rising order."""
        places = _conformal_quantiles(self.newest) + self.corrections
        return self._scale.to_scores(np.maximum.accumulate(np.clip(places, self._scale.low, self._scale.high)))

    def places(self, thresholds: Vector) -> Vector:
        """Thresholds on the scale of steps, on which 0.01 is one per cent."""
        return self._scale.to_scale(thresholds)

    def learn(self, scores: Vector, served: Thresholds, lag: float) -> None:
        """Learns the scores of answered rows, in order; `served` (rows, levels) are the thresholds that answered them.

        `lag` is the mean number of rows learned between an answer and its label, those of this batch included.
        """
        if not len(scores):
            return
        self.lag = max(lag, _DECAY * self.lag)
        missed = (scores[:, None] > served).sum(axis=0) - len(scores) * (1.0 - np.array(LEVELS))
        self.newest = np.concatenate([self.newest, self._scale.to_scale(scores)])[-MOST_SCORES:]
        self.rows += len(scores)
        quantiles = _conformal_quantiles(self.newest)
        highest = min(self._scale.high, float(self.newest.max()) + _BEYOND)
        moved = quantiles + self.corrections + missed / (_QUICK + self.lag)
        self.corrections = np.clip(moved, self._scale.low, highest) - quantiles

    def to_plain(self) -> Mapping[str, Any]:
        """The state as plain data."""
        return {
            "task": str(self.task),
            "floor": self.floor,
            "newest": self.newest.tolist(),
            "corrections": self.corrections.tolist(),
            "rows": self.rows,
            "lag": self.lag,
        }

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> "IntervalTracker":
        """The tracker of a state by `to_plain`."""
        tracker = cls.__new__(cls)
        tracker._start(Task(state["task"]), float(state["floor"]))
        tracker.newest = np.array(state["newest"], dtype=np.float64)
        tracker.corrections = np.array(state["corrections"], dtype=np.float64)
        tracker.rows, tracker.lag = int(state["rows"]), float(state["lag"])
        return tracker


def _thin(places: Vector) -> Vector:
    """At most `MOST_SCORES` of the places, evenly spread, in their order."""
    count = min(MOST_SCORES, len(places))
    return places[np.arange(count) * len(places) // count]


def _conformal_quantiles(places: Vector) -> Vector:
    """(levels,) the ceil((n + 1) level)-th smallest of n, the greatest where n is too small for that."""
    count = len(places)
    ranks = np.ceil((count + 1) * np.array(LEVELS)).astype(np.int64)
    return np.sort(places)[np.minimum(ranks, count) - 1]
