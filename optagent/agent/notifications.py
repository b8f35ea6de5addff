"""Notification verbs: people are told of alerts, verdicts, decisions and failures."""

import asyncio

from optagent.agent.base import AgentBase
from optagent.domain.notice import (
    Notice,
    notice_of_alert,
    notice_of_failure,
    notice_of_proof,
    notice_of_test,
    notice_of_transition,
    notice_of_verdict,
)
from optagent.domain.process import Process, Status
from optagent.domain.rollout import Rollout
from optagent.errors import OptAgentError, Unavailable
from optagent.loop.observe.notify import send_notices

_REMEMBER_S = 30 * 86_400.0
_MOST = 200
_HOUR_S, _DAY_S = 3600.0, 86_400.0
_ROLLOUTS = 2  # the next one may start before people were told of the end of the latest
_NEWS_FOR_S = {Status.FAILED: _HOUR_S, Status.SUCCEEDED: _HOUR_S, Status.INTERRUPTED: _DAY_S}
"""Greatest age of a process's last change, in seconds; one that lost its runner may have been silent before."""


class NotificationVerbs(AgentBase):
    """Sends notices of alerts, decisions and failures."""

    async def test_notification(self) -> None:
        """Sends a test notice over every channel; raises Unavailable with those that did not take it."""
        await asyncio.to_thread(self._ports.require("notifier").send, notice_of_test(self._ports.clock.now()))

    async def notify_once(self) -> int:
        """Sends notices of open alerts, verdicts, decisions about rollouts and failures that were not sent yet.

        An alert is sent when its model is watched, and again after its cool-down. Other notices are sent once: those of
        the last hour, or of the last day for rollouts and lost runners. Answers the number of notices that were sent.
        To be called every few seconds; a notice that cannot be sent is tried again after a minute. Raises Unavailable.
        """
        notifier, now = self._ports.require("notifier"), self._ports.clock.now()
        notices = [*await self._alert_notices(), *await self._rollout_notices(now), *await self._process_notices(now)]
        return await send_notices(notices, notifier, self._ports.store, now, _REMEMBER_S)

    async def _alert_notices(self) -> list[Notice]:
        alerts = await self._ports.store.alerts(limit=_MOST)
        return [notice_of_alert(alert) for alert in alerts if alert.is_open and alert.notified_at is not None]

    async def _rollout_notices(self, now: float) -> list[Notice]:
        rollouts = [
            rollout
            for spec in await self._ports.store.models()
            for rollout in await self._latest_rollouts(spec.model_id)
        ]
        transitions = [notice_of_transition(rollout, change) for rollout in rollouts for change in rollout.transitions]
        proofs = [proof for rollout in rollouts if (proof := notice_of_proof(rollout)) is not None]
        return [notice for notice in (*transitions, *proofs) if now - notice.at < _DAY_S]

    async def _latest_rollouts(self, model_id: str) -> list[Rollout]:
        """None where this model's cannot be read, which `supervise_once` reports: the notices of others are sent."""
        try:
            return await self._ports.store.rollouts(model_id, _ROLLOUTS)
        except Unavailable:
            raise
        except OptAgentError:
            return []

    async def _process_notices(self, now: float) -> list[Notice]:
        processes = await self._ports.store.latest_ends(_MOST)  # by their end: a long one began before many others
        news = [each for each in processes if now - each.updated_at < _NEWS_FOR_S.get(each.status, 0.0)]
        return [notice for process in news if (notice := _process_notice(process)) is not None]


def _process_notice(process: Process) -> Notice | None:
    return notice_of_verdict(process) if process.status is Status.SUCCEEDED else notice_of_failure(process)
