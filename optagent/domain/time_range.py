"""Time ranges: user-written durations back from now (`90m`, `24h`, `7d`) or pairs of instants, as windows."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime

from optagent.domain.duration import seconds
from optagent.domain.monitoring import Window
from optagent.errors import InvalidRequest

Instant = str | float | date
"""A text in ISO 8601, POSIX seconds (a number, or a text of one), a date or a datetime; UTC without a zone."""

_RULE = "write a duration back from now such as 24h, or two instants such as 2024-01-01..2024-02-01"
_EARLIEST, _LATEST = -62_135_596_800.0, 253_402_300_799.0  # the years 1 and 9999, as datetime has them


def parse_time_range(asked: str | Sequence[Instant] | Window, now: float) -> Window:
    """The window of a time range; raises InvalidRequest with the rule.

    >>> parse_time_range("90m", now=10_000.0)
    Window(start=4600.0, end=10000.0)
    >>> parse_time_range("2024-01-01..2024-01-02T12:00:00+01:00", now=0.0)
    Window(start=1704067200.0, end=1704193200.0)
    """
    if isinstance(asked, Window):
        return asked
    if isinstance(asked, str):
        if ".." not in asked:
            return _window_before(asked, now)
        parts: Sequence[Instant] = asked.split("..")
    elif isinstance(asked, Sequence):
        parts = asked
    else:
        raise InvalidRequest(f"time_range {asked!r}: {_RULE}")
    if len(parts) != 2:
        raise InvalidRequest(f"time_range {asked!r}: {_RULE}")
    start, end = (posix_seconds(part) for part in parts)
    if not start < end:
        raise InvalidRequest(f"time_range {asked!r}: the second instant must be after the first")
    return Window(start, end)


def posix_seconds(instant: Instant) -> float:
    """The POSIX time of an instant; raises InvalidRequest."""
    time = math.nan
    if isinstance(instant, str):
        time = _parse_instant(instant.strip())
    elif isinstance(instant, datetime):
        time = _in_utc(instant).timestamp()
    elif isinstance(instant, date):
        time = datetime(instant.year, instant.month, instant.day, tzinfo=UTC).timestamp()
    elif isinstance(instant, int | float) and not isinstance(instant, bool):
        time = float(instant) if abs(instant) < 1e15 else math.nan
    if not _EARLIEST <= time <= _LATEST:
        raise InvalidRequest(
            f"time_range: {instant!r} is not an instant; write it as 2024-01-31, 2024-01-31T08:00:00Z or POSIX seconds"
        )
    return time


def _window_before(text: str, now: float) -> Window:
    try:
        length = seconds(text)
    except InvalidRequest:
        raise InvalidRequest(f"time_range {text!r}: {_RULE}") from None
    if not 0 < length <= now - _EARLIEST:
        raise InvalidRequest(f"time_range {text!r}: the duration must be above 0, and end after the year 1")
    return Window(now - length, now)


def _parse_instant(text: str) -> float:
    try:
        return _in_utc(datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return float(text)
    except ValueError:
        return math.nan


def _in_utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
