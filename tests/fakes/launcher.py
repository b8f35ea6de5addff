"""Fake launcher: runs queued processes in this process."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from optagent.errors import OptAgentError

_log = logging.getLogger("optagent.process")
_END_S = 15.0


class InMemoryLauncher:
    """Runs queued processes on an event loop of one thread; they die with their process.

    `run` does the work of one process by its id.
    """

    def __init__(self, run: Callable[[str], Awaitable[None]]) -> None:
        self._run = run
        self._running: dict[str, Future[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def launch(self, process_id: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="processes", daemon=True)
            self._thread.start()
        known = self._running.get(process_id)
        if known is None or known.done():
            self._running[process_id] = asyncio.run_coroutine_threadsafe(self._ran(process_id), self._loop)

    def close(self) -> None:
        for running in self._running.values():
            running.cancel()
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_S)
            self._thread = None
        if not self._loop.is_closed():
            self._loop.close()

    async def _ran(self, process_id: str) -> None:
        try:
            await self._run(process_id)
        except OptAgentError as error:
            _log.warning("process %s: %s", process_id, error)
