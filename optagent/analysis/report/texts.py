"""Text formats of numbers, times and names, as people read them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue
from optagent.domain.study import Interval

UNKNOWN = "–"
_MOST_NAMES = 10


def format_number(value: float | None) -> str:
    """Four digits; large numbers as people write them.

    >>> format_number(0.123456), format_number(12345.6), format_number(4.2e12), format_number(None)
    ('0.1235', '12,346', '4.2e+12', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def format_share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def format_p_value(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2g}"


def format_interval(interval: Interval, style: Callable[[float], str] = format_number) -> str:
    return f"{style(interval.estimate)} ({style(interval.low)} to {style(interval.high)})"


def format_metric(one: MetricValue) -> str:
    return UNKNOWN if one.interval is None else format_interval(one.interval)


def format_time(at: float) -> str:
    """A POSIX time in UTC, to the minute."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{at:g} s"


def format_window(window: Window) -> str:
    return f"{format_time(window.start)} to {format_time(window.end)}"


def format_names(names: Sequence[str]) -> str:
    """The first ten names, and the number of the others.

    >>> format_names([str(index) for index in range(12)])
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + rest
