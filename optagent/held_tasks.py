"""Held tasks: work that runs to its end although its caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class HeldTasks:
    """Holds tasks until they have ended, since the event loop itself holds them weakly; use it from one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """The answer of `work`, which goes on where the caller is cancelled while it waits."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._drop)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits until all have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _drop(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be left to take it
