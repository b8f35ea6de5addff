"""Supervisor loops: they carry rollouts on, start queued processes and monitors, apply policies, and notify people."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from serve_app.control import LazyAgent

_log = logging.getLogger("optagent.supervisor")

_STUCK_S = 120.0
_MONITORS_EVERY_S = 5.0
_NOTICES_EVERY_S = 5.0
_RETENTION_EVERY_S = 600.0  # between two looks at the day: the first on each day prunes

PublishStates = Callable[[Mapping[str, str]], None]
"""Takes the state of each model's rollout, by model."""

Step = Callable[[], Awaitable[str]]
"""One turn of a loop; returns what is wrong, "" for nothing."""


class SupervisorLoops:
    """Loops that do not wait for each other. A failure is logged once and the step is tried again at the next turn.

    `publish_states` is given the state of each model's rollout after each look. With `notify`, people get messages.
    """

    def __init__(
        self,
        lazy_agent: LazyAgent,
        every_s: float,
        max_processes: int,
        publish_states: PublishStates = lambda states: None,
        notify: bool = False,
        policies_every_s: float = 60.0,
    ) -> None:
        self._lazy_agent = lazy_agent
        self._max_processes = max_processes
        self._publish_states = publish_states
        self._monitored: set[str] = set()
        self._problems: dict[str, str] = {}
        self._looked_at = time.monotonic()
        steps: list[tuple[str, Step, float]] = [
            ("rollouts", self._supervise_rollouts, every_s),
            ("queue", self._start_queued, every_s),
            ("monitors", self._start_monitors, max(every_s, _MONITORS_EVERY_S)),
            ("policies", self._apply_policies, max(every_s, policies_every_s)),
            ("retention", self._prune, max(every_s, _RETENTION_EVERY_S)),
        ]
        if notify:
            steps.append(("notices", self._send_notices, max(every_s, _NOTICES_EVERY_S)))
        self._loops = [asyncio.create_task(self._repeat(*step)) for step in steps]

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
        await self._lazy_agent.close()

    async def _repeat(self, name: str, step: Step, pause_s: float) -> None:
        while True:
            try:
                problem = await step()
            except Exception as error:
                problem = str(error) or type(error).__name__
            if problem and self._problems.get(name) != problem:
                _log.warning("%s: %s", name, problem)
            self._problems[name] = problem
            await asyncio.sleep(pause_s)

    async def _supervise_rollouts(self) -> str:
        try:
            agent = await self._lazy_agent.agent()
            supervised = await agent.supervise_once()
        finally:
            self._looked_at = time.monotonic()
        for message in supervised.done:
            _log.info("%s", message)
        self._publish_states({model_id: str(state) for model_id, state in supervised.states.items()})
        return "; ".join(f"{model_id}: {error}" for model_id, error in sorted(supervised.errors.items()))

    async def _start_queued(self) -> str:
        agent = await self._lazy_agent.agent()
        started = await agent.start_queued(self._max_processes)
        if started:
            _log.info("started %s", ", ".join(started))
        return ""

    async def _start_monitors(self) -> str:
        """Starts a monitor once for each served model; one that was stopped by hand stays stopped."""
        agent = await self._lazy_agent.agent()
        for model_id in await agent.served():
            if model_id not in self._monitored:
                await agent.start_monitor(model_id)
                self._monitored.add(model_id)
        return ""

    async def _apply_policies(self) -> str:
        """Queues what the policies of models call for."""
        agent = await self._lazy_agent.agent()
        for process in await agent.trigger_once():
            _log.info("%s of %s: %s", process.process_id, process.model_id, process.command.get("reason"))
        return ""

    async def _prune(self) -> str:
        """Lets go of what is older than the settings say, once a day."""
        agent = await self._lazy_agent.agent()
        prunings = await agent.prune_once_a_day()
        return "; ".join(f"{each.plan.model_id}: {each.error}" for each in prunings if each.error)

    async def _send_notices(self) -> str:
        agent = await self._lazy_agent.agent()
        sent_count = await agent.notify_once()
        if sent_count:
            _log.info("people were told of %d", sent_count)
        return ""
