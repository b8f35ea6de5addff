"""Fake monitors: model monitors in this process."""

import asyncio
import threading
from concurrent.futures import Future

from optagent.adapters.cluster.model_monitor import ModelMonitor, Recipe
from optagent.domain.monitoring import MonitorState
from optagent.errors import InvalidRequest

_END_S = 15.0


class InMemoryMonitors:
    """Monitors that end with their process. Each has an agent of its own, on an event loop of one thread."""

    def __init__(self, recipe: Recipe, *, check_every_s: float = 60.0) -> None:
        self._recipe = recipe
        self._check_every_s = check_every_s
        self._running: dict[tuple[str, int], tuple[ModelMonitor, Future[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def start(self, model_id: str, shards: int = 1) -> None:
        if shards < 1:
            raise InvalidRequest(f"shards must be at least 1, got {shards!r}")
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="monitors", daemon=True)
            self._thread.start()
        for shard in range(shards):
            if (model_id, shard) not in self._running:
                monitor = ModelMonitor(model_id, shard, self._recipe, self._check_every_s)
                done = asyncio.run_coroutine_threadsafe(monitor.run(), self._loop)
                self._running[model_id, shard] = (monitor, done)
        self._end(model_id, from_shard=shards)

    def stop(self, model_id: str) -> None:
        self._end(model_id)

    def running(self) -> list[MonitorState]:
        return [monitor.state() for _, (monitor, _) in sorted(self._running.items(), key=lambda item: item[0])]

    def close(self) -> None:
        for model_id in {model_id for model_id, _ in self._running}:
            self._end(model_id)
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_S)
        self._loop.close()

    def _end(self, model_id: str, from_shard: int = 0) -> None:
        for key in [key for key in self._running if key[0] == model_id and key[1] >= from_shard]:
            monitor, done = self._running.pop(key)
            self._loop.call_soon_threadsafe(monitor.stop)
            done.result(_END_S)
