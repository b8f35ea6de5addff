"""Retries with exponential backoff, up to a longest pause."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from optagent.errors import Unavailable

Answer = TypeVar("Answer")


class GrowingPauses:
    """Pauses in seconds, without end: `first_s`, then `factor` times as long each time, up to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float = math.inf, factor: float = 2.0) -> None:
        self._first_s = min(first_s, longest_s)
        self._longest_s = longest_s
        self._factor = factor
        self._next_s = self._first_s

    def __iter__(self) -> "GrowingPauses":
        return self

    def __next__(self) -> float:
        pause_s = self._next_s
        self._next_s = min(self._longest_s, pause_s * self._factor)
        return pause_s

    def restart(self) -> None:
        """Makes the next pause the first one again, as after a success."""
        self._next_s = self._first_s


async def retry_unavailable(
    step: Callable[[], Awaitable[Answer]],
    pauses: Iterable[float],
    note: Callable[[Unavailable], None] = lambda error: None,
) -> Answer:
    """The answer of a step, which is taken again after each pause while it raises Unavailable.

    Raises Unavailable once the pauses, in seconds, have run out; calls `note` for each failure that a pause follows.
    """
    for pause_s in pauses:
        try:
            return await step()
        except Unavailable as error:
            note(error)
        await asyncio.sleep(pause_s)
    return await step()
