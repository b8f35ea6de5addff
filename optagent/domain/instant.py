"""Times as text: instants for people to read, in UTC, to the second."""

from datetime import UTC, datetime


def time_text(at: float) -> str:
    """POSIX seconds as a date and a time in UTC.

    >>> time_text(1_700_000_000.5)
    '2023-11-14 22:13:20'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
