"""Durations as people write them: `90m`, `24h`, `7d`."""

import re

from optagent.errors import InvalidRequest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def seconds(text: str) -> float:
    """The length of a duration in seconds; InvalidRequest for a text that is no duration.

    >>> seconds("90m")
    5400.0
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"{text!r} is not a duration: write a number and one of {', '.join(_UNITS)}, such as 24h")
    return float(match[1]) * _UNITS[match[2]]
