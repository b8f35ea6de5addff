"""Worker ports: pools of processes for work with many independent parts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class WorkerPool(Protocol):
    """Workers that share one value, until its context ends."""

    size: int

    def map(
        self,
        work: Callable[[Any, T], R],
        items: Sequence[T],
        cancelled: Callable[[], bool] = lambda: False,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[R]:
        """The results of `work(value, item)` for all items, in order; `on_done` is told how many there are by now.

        `work` is a function of a module, or a partial of one. Its error is raised here, and the rest of the work is
        abandoned. Raises Cancelled when `cancelled` returned True, and Unavailable where workers are lost and cannot be
        replaced.
        """
        ...


class Workers(Protocol):
    """Starts pools of workers."""

    def share(self, value: Any) -> AbstractContextManager[WorkerPool]:
        """A pool of workers that share `value`; its arrays are stored once per machine. Raises Unavailable."""
        ...
