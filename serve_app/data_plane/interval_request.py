"""Interval of a request: the level in its body or header, and the threshold that its routing table has for that."""

from typing import Any

from optagent.domain.routing import RoutingTable
from optagent.serving import answer_interval
from optagent.serving.answer_interval import AskedInterval, check_level


def read_level(value: Any) -> float | None:
    """The level in a body's `interval`, None for null; raises InvalidRequest for what is no level."""
    return None if value is None else check_level(value)


def read_header_level(header: bytes) -> float:
    """The level in the value of a header."""
    text = header.decode("latin-1")
    try:
        return check_level(float(text))
    except ValueError:
        return check_level(text)


def find_interval(table: RoutingTable, level: float) -> AskedInterval:
    """The next higher level that is kept, with its threshold; raises Conflict where the model has no intervals."""
    return answer_interval.find_interval(table.model_id, table.intervals, level)
