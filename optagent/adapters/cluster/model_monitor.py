"""Model monitor: a loop that archives queued rows and checks the model at intervals. It does not depend on Ray."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from optagent.domain.monitoring import MonitorState
from optagent.retry import GrowingPauses

_log = logging.getLogger("optagent.monitor")

_SHORTEST_S, _LONGEST_S = 0.1, 1.0  # between two drains of the queue: shorter pauses make smaller files
_FAILED_S, _FAILED_MOST_S = 0.5, 30.0
_RARELY_S = 3600.0  # an analysis that keeps failing is tried at least this often


class _Look(Protocol):
    @property
    def drained(self) -> int: ...

    @property
    def reports(self) -> tuple[Any, ...]: ...

    @property
    def error(self) -> str | None: ...


class MonitoringAgent(Protocol):
    """The verbs of an agent that a monitor calls."""

    async def drain(self, model_id: str) -> int:
        """Moves rows that wait into the archive, and returns their number."""
        ...

    async def watch_once(self, model_id: str) -> _Look: ...

    async def close(self) -> None: ...


Recipe = Callable[[], Awaitable[MonitoringAgent]]


class ModelMonitor:
    """Watches one model from `run` to `stop`; a step that fails is reported by `state` and tried again.

    Shard 0 checks the model every `check_every_s`, the others only archive. Use it from one event loop.
    """

    def __init__(self, model_id: str, shard: int, recipe: Recipe, check_every_s: float) -> None:
        self._model_id = model_id
        self._recipe = recipe
        self._check_every_s = check_every_s
        self._state = MonitorState(model_id, shard, alive=True, pid=os.getpid(), since=time.time())
        self._errors: dict[str, str] = {}
        self._stop = asyncio.Event()

    def state(self) -> MonitorState:
        return replace(self._state, error="; ".join(self._errors.values()) or None)

    def stop(self) -> None:
        """Makes `run` return once the current step is finished."""
        self._stop.set()

    async def run(self) -> None:
        agent = await self._make_agent()
        if agent is None:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._drain(agent))
                if self._state.shard == 0:
                    tasks.create_task(self._look(agent))
        finally:
            await agent.close()

    async def _make_agent(self) -> MonitoringAgent | None:
        """Makes the agent, again and again until that succeeds: Ray never restarts an actor whose creation fails."""
        pauses = GrowingPauses(_FAILED_S, _FAILED_MOST_S)
        while not self._stop.is_set():
            try:
                agent = await self._recipe()
            except Exception as error:
                self._note_failure("start", error)
                await self._pause(next(pauses))
            else:
                self._errors.pop("start", None)
                return agent
        return None

    async def _drain(self, agent: MonitoringAgent) -> None:
        """Drains the queue until `stop`, with pauses that grow while the queue is empty or an error lasts."""
        idle, failing = GrowingPauses(_SHORTEST_S, _LONGEST_S), GrowingPauses(_FAILED_S, _FAILED_MOST_S)
        while not self._stop.is_set():
            try:
                moved = await agent.drain(self._model_id)
            except Exception as error:
                self._note_failure("drain", error)
                pause_s = next(failing)
            else:
                self._errors.pop("drain", None)
                self._count_archived(moved)
                failing.restart()
                if moved:
                    idle.restart()
                pause_s = next(idle)
            await self._pause(pause_s)

    async def _look(self, agent: MonitoringAgent) -> None:
        failing = GrowingPauses(2 * self._check_every_s, max(_RARELY_S, self._check_every_s))
        while not self._stop.is_set():
            try:
                look = await agent.watch_once(self._model_id)
                self._count_archived(look.drained)
                if look.error is not None:
                    raise RuntimeError(look.error)
            except Exception as error:
                self._note_failure("look", error)
                pause_s = next(failing)
            else:
                self._errors.pop("look", None)
                failing.restart()
                pause_s = self._check_every_s
                if look.reports:
                    self._state = replace(self._state, last_report=time.time())
            await self._pause(pause_s)

    def _count_archived(self, rows: int) -> None:
        self._state = replace(self._state, drained=self._state.drained + rows, last_drain=time.time())

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _note_failure(self, step: str, error: Exception) -> None:
        message = str(error) or type(error).__name__
        if self._errors.get(step) != message:
            _log.warning("monitor of %s: %s failed: %s", self._model_id, step, message)
        self._errors[step] = message
