"""Intervals of answers: the range around a value, or the set of labels, up to the threshold of a level."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optagent.arrays import Prediction
from optagent.domain.model import Task
from optagent.serving.engine import Answer, ServedModel


class AskedInterval(NamedTuple):
    """A level, and the score up to which outcomes belong to it, as `IntervalThresholds` has them."""

    level: float
    threshold: float


def add_intervals(answers: Sequence[Answer], model: ServedModel, scores: Prediction, interval: AskedInterval) -> None:
    """Adds `interval` (its level, low and high) to answers of a regression, and `set` with its `level` to others.

    A set has its most probable label first; it has at least that one.
    """
    level, threshold = interval
    if model.task is Task.REGRESSION:
        for answer, value in zip(answers, scores.tolist(), strict=True):
            answer["interval"] = {"level": level, "low": value - threshold, "high": value + threshold}
        return
    by_class = np.column_stack([1.0 - scores, scores]) if model.task is Task.BINARY else scores
    is_inside = 1.0 - by_class <= threshold
    first = np.where(scores >= 0.5, 1, 0) if model.task is Task.BINARY else by_class.argmax(axis=1)
    is_inside[np.arange(len(first)), first] = True
    order = np.argsort(-by_class, axis=1, kind="stable")
    for row, answer in enumerate(answers):
        inside = [code for code in order[row].tolist() if is_inside[row, code] and code != first[row]]
        answer["set"] = [model.classes[code] for code in (int(first[row]), *inside)]
        answer["level"] = level
