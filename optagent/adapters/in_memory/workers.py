"""Sequential workers: the `Workers` port in the caller's thread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from optagent.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")


class SequentialWorkers:
    """Works on one item after the other, in the caller's thread."""

    @contextmanager
    def share(self, value: Any) -> Iterator["SequentialPool"]:
        yield SequentialPool(value)


class SequentialPool:
    """A pool of one worker."""

    size = 1

    def __init__(self, value: Any) -> None:
        self._value = value

    def map(
        self,
        work: Callable[[Any, T], R],
        items: Sequence[T],
        cancelled: Callable[[], bool] = lambda: False,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[R]:
        results = []
        for item in items:
            if cancelled():
                raise Cancelled("the work was cancelled")
            results.append(work(self._value, item))
            on_done(len(results))
        return results
