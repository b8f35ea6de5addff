"""The `Workers` port in this very thread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from optagent.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")


class SequentialWorkers:
    """One after the other, as the caller comes to them."""

    @contextmanager
    def share(self, value: Any) -> Iterator["SequentialPool"]:
        yield SequentialPool(value)


class SequentialPool:
    """A crew of one."""

    size = 1

    def __init__(self, value: Any) -> None:
        self._value = value

    def map(
        self, work: Callable[[Any, T], R], items: Sequence[T], cancelled: Callable[[], bool] = lambda: False
    ) -> list[R]:
        found = []
        for item in items:
            if cancelled():
                raise Cancelled("the work was cancelled")
            found.append(work(self._value, item))
        return found
