"""The verbs of telling people."""

import asyncio

from optagent.agent.desk import Desk
from optagent.domain.notice import Notice, of_alert, of_failure, of_proof, of_test, of_transition, of_verdict
from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest
from optagent.loop.observe.notify import tell
from optagent.ports import Notifier

_REMEMBERED_S = 30 * 86_400.0
_LOOKED_AT = 200
_HOUR_S, _DAY_S = 3600.0, 86_400.0
_ROLLOUTS = 2  # the next one may start before the end of the latest was told
_TOLD_FOR_S = {Status.FAILED: _HOUR_S, Status.SUCCEEDED: _HOUR_S, Status.INTERRUPTED: _DAY_S}
"""How long ago a process may have moved last; one that lost its runner may have been silent before."""


class NotifyVerbs(Desk):
    """Tells people what was found wrong, decided, and what failed."""

    async def test_notification(self) -> None:
        """Sends a test notice over every channel; raises Unavailable with those that did not take it."""
        await asyncio.to_thread(self._notifier().send, of_test(self._outside.clock.now()))

    async def notify_once(self) -> int:
        """Tells of open alerts, verdicts, decisions about rollouts and failures that nobody was told of yet.

        An alert is told when its model is watched, and again after its cool-down; all else of the last hour, of
        rollouts and lost runners of the last day, once. Answers how many notices were sent. To be called every few
        seconds; what cannot be sent is tried again after a minute. Raises Unavailable.
        """
        notifier, now = self._notifier(), self._outside.clock.now()
        notices = [*await self._of_alerts(), *await self._of_rollouts(now), *await self._of_processes(now)]
        return await tell(notices, notifier, self._store, now, _REMEMBERED_S)

    async def _of_alerts(self) -> list[Notice]:
        alerts = await self._store.alerts(limit=_LOOKED_AT)
        return [of_alert(alert) for alert in alerts if alert.is_open and alert.notified_at is not None]

    async def _of_rollouts(self, now: float) -> list[Notice]:
        rollouts = [
            rollout
            for spec in await self._store.models()
            for rollout in await self._store.rollouts(spec.model_id, _ROLLOUTS)
        ]
        decided = [of_transition(rollout, change) for rollout in rollouts for change in rollout.transitions]
        proved = [proof for rollout in rollouts if (proof := of_proof(rollout)) is not None]
        return [notice for notice in (*decided, *proved) if now - notice.at < _DAY_S]

    async def _of_processes(self, now: float) -> list[Notice]:
        processes = await self._store.processes(limit=_LOOKED_AT)
        found = [_of_process(one) for one in processes if now - one.updated_at < _TOLD_FOR_S.get(one.status, 0.0)]
        return [notice for notice in found if notice is not None]

    def _notifier(self) -> Notifier:
        if self._outside.notifier is None:
            raise InvalidRequest("this agent tells nobody: set OPT_AGENT_ENABLE_NOTIFICATIONS, or give it `notifier`")
        return self._outside.notifier


def _of_process(process: Process) -> Notice | None:
    return of_verdict(process) if process.status is Status.SUCCEEDED else of_failure(process)
