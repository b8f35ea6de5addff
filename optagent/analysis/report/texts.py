"""Numbers, times and names as people read them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue
from optagent.domain.study import Interval

UNKNOWN = "–"
_NAMED = 10


def number(value: float | None) -> str:
    """Four digits; large numbers as people write them.

    >>> number(0.123456), number(12345.6), number(4.2e12), number(None)
    ('0.1235', '12,346', '4.2e+12', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def p_value(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2g}"


def bounded(interval: Interval, shown: Callable[[float], str] = number) -> str:
    return f"{shown(interval.estimate)} ({shown(interval.low)} to {shown(interval.high)})"


def valued(one: MetricValue) -> str:
    return UNKNOWN if one.interval is None else bounded(one.interval)


def time(at: float) -> str:
    """A POSIX time in UTC, to the minute."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{at:g} s"


def span(window: Window) -> str:
    return f"{time(window.start)} to {time(window.end)}"


def some_of(names: Sequence[str]) -> str:
    """The first ten.

    >>> some_of([str(index) for index in range(12)])
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
