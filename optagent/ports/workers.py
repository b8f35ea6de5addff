"""Where work is done that has many independent parts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class WorkerPool(Protocol):
    """Workers that hold one value in common, for as long as its context lasts."""

    size: int

    def map(
        self, work: Callable[[Any, T], R], items: Sequence[T], cancelled: Callable[[], bool] = lambda: False
    ) -> list[R]:
        """`work(value, item)` of every item, in their order; `work` is a function of a module, or a partial of one.

        An error of the work is raised here, the work of others is then given up. Raises Cancelled when `cancelled`
        answered True, and Unavailable where the workers are lost and can't be replaced.
        """
        ...


class Workers(Protocol):
    """Gathers crews."""

    def share(self, value: Any) -> AbstractContextManager[WorkerPool]:
        """A crew that shares `value`, of which arrays are kept once a machine. Raises Unavailable."""
        ...
