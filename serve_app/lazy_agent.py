"""An agent that is made when it is first needed, and as often as it takes while Redis or MLflow are away."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from optagent.agent import OptimizationAgent
from optagent.errors import OptAgentError, Unavailable

_AGAIN_S = 1.0


class LazyAgent:
    """One agent for all who ask; use it from one event loop."""

    def __init__(self, recipe: Callable[[], Awaitable[OptimizationAgent]]) -> None:
        self._recipe = recipe
        self._making = asyncio.Lock()
        self._made: OptimizationAgent | None = None
        self._failure: OptAgentError | None = None
        self._failed_at = 0.0
        self._closed = False

    async def agent(self) -> OptimizationAgent:
        """Raises what made it fail; who asks within a second of that is told the same, and nobody waits in a row."""
        if self._made is not None:
            return self._made
        async with self._making:
            if self._closed:
                raise Unavailable("control is closing")
            if self._failure is not None and time.monotonic() - self._failed_at < _AGAIN_S:
                raise self._failure
            if self._made is None:
                try:
                    self._made = await self._recipe()
                except OptAgentError as error:
                    self._failure, self._failed_at = error, time.monotonic()
                    raise
            return self._made

    async def close(self) -> None:
        async with self._making:
            self._closed = True
            made, self._made = self._made, None
        if made is not None:
            await made.close()
