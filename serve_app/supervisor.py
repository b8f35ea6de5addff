"""What the supervisor does all day: carries rollouts on, starts what is queued, has models watched, tells people."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from serve_app.lazy_agent import LazyAgent

_log = logging.getLogger("optagent.supervisor")

_STUCK_S = 120.0
_MONITORS_EVERY_S = 5.0
_NOTICES_EVERY_S = 5.0

Tell = Callable[[Mapping[str, str]], None]


class SupervisorLoops:
    """Loops that do not wait for each other; what fails is told once and tried again at the next look.

    `tell` is given the state of each model's rollout after each look. With `notify`, people are told by message.
    """

    def __init__(
        self,
        held: LazyAgent,
        every_s: float,
        max_processes: int,
        tell: Tell = lambda states: None,
        notify: bool = False,
        policies_every_s: float = 60.0,
    ) -> None:
        self._held = held
        self._max_processes = max_processes
        self._tell = tell
        self._watched: set[str] = set()
        self._said: dict[str, str] = {}
        self._looked_at = time.monotonic()
        steps = [(self._rollouts, every_s), (self._queue, every_s), (self._monitors, max(every_s, _MONITORS_EVERY_S))]
        steps += [(self._policies, max(every_s, policies_every_s))]
        steps += [(self._notices, max(every_s, _NOTICES_EVERY_S))] * notify
        self._loops = [asyncio.create_task(self._repeat(step, pause_s)) for step, pause_s in steps]

    def check(self) -> None:
        """Raises RuntimeError where rollouts were not looked at for two minutes: this process is to be replaced."""
        since_s = time.monotonic() - self._looked_at
        if since_s > _STUCK_S:
            raise RuntimeError(f"rollouts were not looked at for {since_s:.0f} s")

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        for loop in self._loops:
            with contextlib.suppress(asyncio.CancelledError):
                await loop
        await self._held.close()

    async def _repeat(self, step: Callable[[], Awaitable[str]], pause_s: float) -> None:
        while True:
            try:
                said = await step()
            except Exception as error:
                said = str(error) or type(error).__name__
            if said and self._said.get(step.__name__) != said:
                _log.warning("%s: %s", step.__name__.strip("_"), said)
            self._said[step.__name__] = said
            await asyncio.sleep(pause_s)

    async def _rollouts(self) -> str:
        try:
            agent = await self._held.agent()
            supervised = await agent.supervise_once()
        finally:
            self._looked_at = time.monotonic()
        for done in supervised.done:
            _log.info("%s", done)
        self._tell({model_id: str(state) for model_id, state in supervised.states.items()})
        return "; ".join(f"{model_id}: {error}" for model_id, error in sorted(supervised.errors.items()))

    async def _queue(self) -> str:
        agent = await self._held.agent()
        started = await agent.start_queued(self._max_processes)
        if started:
            _log.info("started %s", ", ".join(started))
        return ""

    async def _monitors(self) -> str:
        """A model that is served is watched from then on; one whose monitor was stopped by hand stays as it is."""
        agent = await self._held.agent()
        for model_id in await agent.served():
            if model_id not in self._watched:
                await agent.start_monitor(model_id)
                self._watched.add(model_id)
        return ""

    async def _policies(self) -> str:
        """Queues what the policies of models call for."""
        agent = await self._held.agent()
        for process in await agent.trigger_once():
            _log.info("%s of %s: %s", process.process_id, process.model_id, process.command.get("reason"))
        return ""

    async def _notices(self) -> str:
        agent = await self._held.agent()
        told = await agent.notify_once()
        if told:
            _log.info("people were told of %d", told)
        return ""
