"""Supervisor loops: they carry rollouts on, start queued processes and monitors, apply policies, and notify people."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from optagent.agent.acts import SUPERVISOR, acting_as
from serve_app.control import LazyAgent
from serve_app.model_metrics import MetricSample, samples_of

_log = logging.getLogger("optagent.supervisor")

_STUCK_S = 120.0
_MONITORS_EVERY_S = 5.0
_NOTICES_EVERY_S = 5.0
_HISTORIES_EVERY_S = 5.0
_RETENTION_EVERY_S = 600.0  # between two looks at the day: the first on each day prunes
_AT_ONCE = 4  # monitors that start: one that does not come up is waited for for a minute
_SIGNS_EVERY_S = 15.0  # as often as Prometheus asks by default
_NUMBER = re.compile(r"\d[\d.]*")

PublishSamples = Callable[[Iterable[MetricSample]], None]
"""Takes the samples of all models and of the system."""

PublishStates = Callable[[Mapping[str, str]], None]
"""Takes the state of each model's rollout, by model."""

Step = Callable[[], Awaitable[Mapping[str, str]]]
"""One turn of a loop; returns the problems by model."""


class SupervisorLoops:
    """Loops that do not wait for each other. A failure is logged once and the step is tried again at the next turn.

    A model with a failure holds up no other.

    `publish_states` is given the state of each model's rollout after each look, `publish_samples` the figures of all
    models. With `notify`, people get messages.
    """

    def __init__(
        self,
        lazy_agent: LazyAgent,
        every_s: float,
        max_processes: int,
        publish_states: PublishStates = lambda states: None,
        notify: bool = False,
        policies_every_s: float = 60.0,
        publish_samples: PublishSamples | None = None,
    ) -> None:
        self._lazy_agent = lazy_agent
        self._max_processes = max_processes
        self._publish_states = publish_states
        self._monitored: set[str] = set()
        self._problems: dict[str, dict[str, str]] = {}
        self._looked_at = time.monotonic()
        steps: list[tuple[str, Step, float]] = [
            ("rollouts", self._supervise_rollouts, every_s),
            ("queue", self._start_queued, every_s),
            ("monitors", self._start_monitors, max(every_s, _MONITORS_EVERY_S)),
            ("histories", self._seed_histories, max(every_s, _HISTORIES_EVERY_S)),
            ("policies", self._apply_policies, max(every_s, policies_every_s)),
            ("retention", self._prune, max(every_s, _RETENTION_EVERY_S)),
        ]
        if publish_samples is not None:
            self._publish_samples = publish_samples
            steps.append(("metrics", self._publish_signs, max(every_s, _SIGNS_EVERY_S)))
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
            problems: Mapping[str, str]
            try:
                problems = await step()
            except Exception as error:
                problems = {"": str(error) or type(error).__name__}
            self._log_news(name, problems)
            await asyncio.sleep(pause_s)

    def _log_news(self, name: str, problems: Mapping[str, str]) -> None:
        """Logs the problems that were not there at the turn before; another number in a text is not news."""
        texts = {model_id: _NUMBER.sub("", problem) for model_id, problem in problems.items()}
        for model_id, problem in sorted(problems.items()):
            if self._problems.get(name, {}).get(model_id) != texts[model_id]:
                _log.warning("%s: %s%s", name, f"{model_id}: " if model_id else "", problem)
        self._problems[name] = texts

    async def _supervise_rollouts(self) -> Mapping[str, str]:
        try:
            agent = await self._lazy_agent.agent()
            supervised = await agent.supervise_once()
        finally:
            self._looked_at = time.monotonic()
        for message in supervised.done:
            _log.info("%s", message)
        self._publish_states({model_id: str(state) for model_id, state in supervised.states.items()})
        return supervised.errors

    async def _start_queued(self) -> Mapping[str, str]:
        agent = await self._lazy_agent.agent()
        started = await agent.start_queued(self._max_processes)
        if started:
            _log.info("started %s", ", ".join(started))
        return {}

    async def _start_monitors(self) -> Mapping[str, str]:
        """Starts a monitor once for each served model; one that was stopped by hand stays stopped."""
        agent = await self._lazy_agent.agent()
        turn = asyncio.Semaphore(_AT_ONCE)

        async def start(model_id: str) -> str:
            async with turn:
                try:
                    with acting_as(SUPERVISOR):
                        await agent.start_monitor(model_id)
                except Exception as error:
                    return str(error) or type(error).__name__
            self._monitored.add(model_id)
            return ""

        missing = [model_id for model_id in await agent.served() if model_id not in self._monitored]
        problems = zip(missing, await asyncio.gather(*map(start, missing)), strict=True)
        return {model_id: problem for model_id, problem in problems if problem}

    async def _apply_policies(self) -> Mapping[str, str]:
        """Queues what the policies of models call for."""
        agent = await self._lazy_agent.agent()
        policy_pass = await agent.apply_policies_once()
        for process in policy_pass.queued:
            _log.info("%s of %s: %s", process.process_id, process.model_id, process.command.get("reason"))
        return policy_pass.errors

    async def _seed_histories(self) -> Mapping[str, str]:
        """Gives routed versions with a history the past that is in their model's data."""
        agent = await self._lazy_agent.agent()
        seeded = await agent.seed_histories_once()
        for model_id, rows in seeded.rows.items():
            _log.info("%s: %d rows of its data are the past of served rows", model_id, rows)
        return seeded.errors

    async def _prune(self) -> Mapping[str, str]:
        """Lets go of what is older than the settings say, once a day."""
        agent = await self._lazy_agent.agent()
        prunings = await agent.prune_once_a_day()
        return {each.plan.model_id: each.error for each in prunings if each.error}

    async def _publish_signs(self) -> Mapping[str, str]:
        """Exports the figures of models and of the system."""
        agent = await self._lazy_agent.agent()
        signs, parts = await asyncio.gather(agent.vital_signs(), agent.health())
        self._publish_samples(samples_of(signs, parts))
        return {}

    async def _send_notices(self) -> Mapping[str, str]:
        agent = await self._lazy_agent.agent()
        sent_count = await agent.notify_once()
        if sent_count:
            _log.info("people were told of %d", sent_count)
        return {}
