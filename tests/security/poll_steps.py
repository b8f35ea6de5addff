"""Steps of polls: a sleep that ends when the test says so."""

import asyncio


class PollSteps:
    """Stands for the sleep between two polls."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self._next.wait()

    async def step(self, count: int = 1) -> None:
        """Ends the sleep so many times, and lets what waited for it go on."""
        for _ in range(count):
            self._next.set()
            self._next = asyncio.Event()
            for _ in range(60):
                await asyncio.sleep(0)
