"""Command start: the moment from which the time limit of a command counts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_start: ContextVar[float | None] = ContextVar("command_start", default=None)


@contextmanager
def counting_from(at: float | None) -> Iterator[None]:
    """Makes `at`, in seconds of `time.monotonic`, the start of all commands within this context; None: of each its own.

    A program that is started for one command counts from the start of its process.
    """
    token = _start.set(at)
    try:
        yield
    finally:
        _start.reset(token)


def command_start() -> float:
    """The start of a command that is given now, in seconds of `time.monotonic`."""
    start = _start.get()
    return time.monotonic() if start is None else start
