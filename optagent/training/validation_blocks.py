"""Validation blocks: the validated rows of a problem in stretches of time, and the gain of a trial in each.

The gain is the trial's score less that of one answer for every row, the best of the fold's training rows. A series of
gains tells skill that lasts from one lucky stretch, which the mean over the folds does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Prediction, Rows, Score, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.training.problem import Data, Fold, Problem

BLOCKS = 16
"""Blocks that are aimed at: as many as Bailey et al. (2017) cut a history into."""
LEAST_ROWS = 20
"""Rows of a block, of which there are fewer where rows are few."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one block within a fold's validation rows, and the score of the constant answer on them."""

    block: int
    rows: Rows
    constant: float


class ValidationBlocks:
    """The blocks of a problem, the oldest first where its rows are in time order.

    A block in which the metric is undefined, such as an AUC on rows of one class, is left out.
    """

    def __init__(self, problem: Problem, score: Score, maximize: bool) -> None:
        self.problem = problem
        self._score = score
        self._sign = 1.0 if maximize else -1.0
        pieces = _pieces(problem.folds)
        self._parts = [
            _score_constants(problem.data, fold, number * pieces, pieces, score)
            for number, fold in enumerate(problem.folds)
        ]
        self._blocks = sorted({part.block for parts in self._parts for part in parts})

    def gains(self, predictions: Sequence[Prediction]) -> tuple[float, ...]:
        """(blocks,) gains, the higher the better, of predictions of each fold's validation rows. The gain of a block
        that several folds validate is the mean of theirs."""
        gains: dict[int, list[float]] = {block: [] for block in self._blocks}
        for fold, parts, prediction in zip(self.problem.folds, self._parts, predictions, strict=True):
            y = self.problem.data.y[fold.valid]
            for part in parts:
                score = float(self._score(y[part.rows], prediction[part.rows]))
                gains[part.block].append(self._sign * (score - part.constant))
        return tuple(float(np.mean(values)) for values in gains.values())


def _pieces(folds: Sequence[Fold]) -> int:
    """The number of blocks that each fold, or each group, is cut into."""
    groups = {int(number) for fold in folds if fold.group is not None for number in np.unique(fold.group)}
    stretches = len(groups) or len(folds)
    rows = len(np.unique(np.concatenate([fold.valid for fold in folds])))
    return max(1, min(BLOCKS // stretches, rows // (stretches * LEAST_ROWS)))


def _score_constants(data: Data, fold: Fold, first: int, pieces: int, score: Score) -> list[_Part]:
    """The blocks of a fold in which the metric is defined; `first` numbers the first of a fold without groups."""
    y, parts = data.y[fold.valid], []
    constant = constant_answer(data.task, data.n_classes, data.y[fold.train], data.quantile)
    for number in [None] if fold.group is None else np.unique(fold.group).tolist():
        inside = np.arange(len(y)) if number is None else np.flatnonzero(fold.group == number)
        start = first if number is None else number * pieces
        for place, rows in enumerate(np.array_split(inside, pieces)):
            try:
                worth = float(score(y[rows], np.broadcast_to(constant, (len(rows), *constant.shape))))
            except InvalidData:
                continue
            if np.isfinite(worth):
                parts.append(_Part(start + place, rows, worth))
    return parts


def constant_answer(task: Task, n_classes: int, y: Vector, quantile: float | None = None) -> Prediction:
    """The best answer that is the same for every row: () the mean or the `quantile`, or (classes,) their shares."""
    if quantile is not None:
        return np.asarray(np.quantile(y, quantile))
    if task is not Task.MULTICLASS:
        return np.asarray(y.mean())
    return np.asarray(np.bincount(y.astype(np.int64), minlength=n_classes) / len(y))
