"""Interval of a request: the level that it asks for, and the threshold that its routing table has for that."""

import json
from typing import Any

from optagent.domain.prediction_interval import LEVELS, level_place
from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict, InvalidRequest
from optagent.serving.answer_interval import AskedInterval

_SHOWN = 60


def read_level(value: Any) -> float | None:
    """The level in a body's `interval`, None for null; raises InvalidRequest for what is no level."""
    if value is None:
        return None
    if type(value) not in (float, int):
        text = json.dumps(value)[:_SHOWN]
        raise InvalidRequest(f"interval: a number from {LEVELS[0]} to {LEVELS[-1]} is needed, such as 0.9, got {text}")
    level_place(value)
    return float(value)


def find_interval(table: RoutingTable, level: float) -> AskedInterval:
    """The next higher level that is kept, with its threshold; raises Conflict where the model has no intervals."""
    place, kept = level_place(level), table.intervals
    if kept is None:
        raise Conflict(
            f"{table.model_id} has no intervals yet: set intervals: true in its model.yaml, and register that (optagent"
            " register model.yaml); they start within a minute from the holdout of its champion, which needs 100"
            " labelled rows"
        )
    return AskedInterval(LEVELS[place], kept.thresholds[place])
