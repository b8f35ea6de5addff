"""Intervals of answers: the range around a value, or the set of labels, up to the threshold of a level."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from optagent.arrays import Codes, Prediction
from optagent.domain.model import Task
from optagent.domain.prediction_interval import LEVELS, IntervalThresholds, level_place
from optagent.errors import Conflict, InvalidRequest
from optagent.serving.engine import Answer, ServedModel

LEVEL, LOW, HIGH, SET = "level", "low", "high", "set"
"""The columns of intervals in tables: the level, and the bounds of a regression or the set of labels."""

_SHOWN = 60


class AskedInterval(NamedTuple):
    """A level, and the score up to which outcomes belong to it, as `IntervalThresholds` has them."""

    level: float
    threshold: float


def check_level(value: Any) -> float:
    """The level that was asked for; raises InvalidRequest for what is no level."""
    if type(value) not in (float, int):
        text = json.dumps(value, default=str)[:_SHOWN]
        raise InvalidRequest(f"interval: a number from {LEVELS[0]} to {LEVELS[-1]} is needed, such as 0.9, got {text}")
    level_place(value)
    return float(value)


def find_interval(model_id: str, kept: IntervalThresholds | None, level: float) -> AskedInterval:
    """The next higher level that is kept, with its threshold; raises Conflict where the model has no intervals."""
    place = level_place(level)
    if kept is None:
        raise Conflict(
            f"{model_id} has no intervals yet: set intervals: true in its model.yaml, and register that (optagent"
            " register model.yaml); they start within a minute from the holdout of its champion, which needs 100"
            " labelled rows"
        )
    return AskedInterval(LEVELS[place], kept.thresholds[place])


def add_intervals(answers: Sequence[Answer], model: ServedModel, scores: Prediction, interval: AskedInterval) -> None:
    """Adds `interval` (its level, low and high) to answers of a regression, and `set` with its `level` to others.

    A set has its most probable label first; it has at least that one.
    """
    level, threshold = interval
    if model.task is Task.REGRESSION:
        for answer, value in zip(answers, scores.tolist(), strict=True):
            answer["interval"] = {"level": level, "low": value - threshold, "high": value + threshold}
        return
    ends, codes = (part.tolist() for part in _label_sets(model.task, scores, threshold))
    for answer, start, end in zip(answers, ends, ends[1:], strict=False):
        answer["set"] = [model.classes[code] for code in codes[start:end]]
        answer["level"] = level


def interval_columns(model: ServedModel, scores: Prediction, interval: AskedInterval) -> dict[str, pa.Array]:
    """The same as columns of a table: `level`, and `low` and `high` or `set`, a list of labels."""
    level = pa.array(np.full(len(scores), interval.level))
    if model.task is Task.REGRESSION:
        low, high = scores - interval.threshold, scores + interval.threshold
        return {LOW: pa.array(low), HIGH: pa.array(high), LEVEL: level}
    ends, codes = _label_sets(model.task, scores, interval.threshold)
    labels = pa.array(model.classes).take(pa.array(codes))
    return {SET: pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), labels), LEVEL: level}


def _label_sets(task: Task, scores: Prediction, threshold: float) -> tuple[Codes, Codes]:
    """The codes in the sets of all rows, one after another, and (rows + 1,) the places between which a row's are."""
    by_class = np.column_stack([1.0 - scores, scores]) if task is Task.BINARY else scores
    is_inside = 1.0 - by_class <= threshold
    first = (scores >= 0.5).astype(np.intp) if task is Task.BINARY else by_class.argmax(axis=1)
    every_row = np.arange(len(first))
    is_inside[every_row, first] = True
    rank = -by_class
    rank[every_row, first] = -np.inf
    order = np.argsort(rank, axis=1, kind="stable")
    is_listed = np.take_along_axis(is_inside, order, axis=1)
    return np.concatenate([[0], is_listed.sum(axis=1).cumsum()]), order[is_listed]
