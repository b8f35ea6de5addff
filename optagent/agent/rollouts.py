"""The verbs of rollouts: a candidate on its way to the champion's place, or back."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optagent.agent.desk import Desk
from optagent.domain import rollout as machine
from optagent.domain.model import CHALLENGER
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState
from optagent.domain.strategy import strategy_named
from optagent.errors import Conflict, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from optagent.loop.rollout.live import RolloutContext
    from optagent.loop.rollout.replay import RolloutReplay
    from optagent.loop.rollout.supervise import SupervisorPass

# What rollouts are judged by imports scipy, which takes a second: it is imported where it is needed.

_log = logging.getLogger(__name__)

_TRIES = 10
_APART_S = 0.001

Act = Callable[[Rollout, str, str, float], Rollout]


class RolloutVerbs(Desk):
    """Starts rollouts, has them go on by what they show, and lets people decide otherwise."""

    async def start_rollout(
        self,
        model_id: str,
        candidate: str = CHALLENGER,
        strategy: str = "balanced",
        policy: Mapping[str, Any] | None = None,
        who: str = "sdk",
    ) -> Rollout:
        """Lets a version or alias compete with the champion: in shadow first, then on a growing share of requests.

        `policy` are fields of `RolloutPolicy` that are to be other than the strategy's. `label_delay_s`, by default the
        model's label horizon where it is a duration, must be long enough for nearly all labels to come: of labels that
        come sooner when they are bad, the early ones mislead. Answers when the gateways route by it, or after half a
        minute; one that they cannot load is aborted, with their reason. Raises Conflict where there is no champion,
        another rollout is active, or the candidate is another kind of model.
        """
        from optagent.loop.rollout.start import propose

        chosen, spec = strategy_named(strategy), await self._store.model(model_id)
        after = await self._ended(model_id)
        changes = {} if policy is None else policy
        live, datasets = self._live, self._outside.datasets
        proposed = await asyncio.to_thread(
            propose, spec, candidate, chosen, changes, live.registry, live.observations, datasets
        )
        now, rollout_id = max(live.clock.now(), after), f"rollout-{uuid.uuid4().hex[:12]}"
        rollout = machine.begin(rollout_id, model_id, proposed.champion, proposed.candidate, proposed.policy, now, who)
        await self._store.create_rollout(rollout)
        return await self._applied(rollout)

    async def rollout(self, rollout_id: str) -> Rollout:
        """With every look and every transition; raises NotFound."""
        return await self._store.rollout(rollout_id)

    async def replay_rollout(self, rollout_id: str) -> "RolloutReplay":
        """Decides a rollout again from what is kept of it, and compares bit for bit; raises NotFound."""
        from optagent.loop.rollout.replay import replay_rollout

        return replay_rollout(await self._store.rollout(rollout_id))

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        """The newest first, of all models or of one."""
        return await self._store.rollouts(model_id, limit)

    async def latest_rollout(self, model_id: str) -> Rollout:
        """Raises ModelNotFound, and NotFound where the model has had none."""
        await self._store.model(model_id)
        for latest in await self._store.rollouts(model_id, 1):
            return latest
        raise NotFound(f"model {model_id!r} has had no rollout")

    async def promote_rollout(self, model_id: str, who: str = "sdk", why: str = "by hand") -> Rollout:
        """Puts the candidate in the champion's place, to be watched; while it is watched, ends that."""
        return await self._act(model_id, machine.promote, who, why)

    async def abort_rollout(self, model_id: str, who: str = "sdk", why: str = "by hand") -> Rollout:
        """Gives all requests to the champion again; Conflict where it has been replaced: then roll back."""
        return await self._act(model_id, machine.abort, who, why)

    async def rollback_rollout(self, model_id: str, who: str = "sdk", why: str = "by hand") -> Rollout:
        """Puts the champion of before in its place again, also after the end of the model's latest rollout."""
        return await self._act(model_id, machine.rollback, who, why)

    async def supervise_once(self) -> "SupervisorPass":
        """Carries each rollout on by what it shows, and has router and registry follow; one model's trouble is told.

        To be called every second or so; several agents may do so at once.
        """
        from optagent.loop.rollout.supervise import supervise

        return await supervise(self._live)

    @cached_property
    def _live(self) -> "RolloutContext":
        from optagent.loop.rollout.live import RolloutContext

        if self._outside.routes is None:
            raise InvalidRequest("this agent routes no requests: give it `routes`")
        outside = self._outside
        return RolloutContext(self._store, self._outside.routes, outside.registry, self._observations(), outside.clock)

    async def _ended(self, model_id: str) -> float:
        """Sees to it that the rollout before the next has ended and is settled; answers when the next may start.

        That is later than the other by the clock of the machine that starts it, too: the latest is the one that counts.
        """
        from optagent.loop.rollout.reconcile import follow

        for latest in await self._store.rollouts(model_id, 1):
            if latest.state.is_active:
                raise Conflict(f"rollout {latest.rollout_id!r} of {model_id} is active; end it before another starts")
            if not latest.is_settled:
                await follow(latest.rollout_id, self._live)
            return latest.started_at + _APART_S
        return 0.0

    async def _act(self, model_id: str, act: Act, who: str, why: str) -> Rollout:
        """What a person decides about the model's latest rollout, on top of whatever a look has just decided."""
        for _ in range(_TRIES):
            before = await self.latest_rollout(model_id)
            await self._check_still_champion(before, act)
            after = act(before, who, why, self._live.clock.now())
            try:
                await self._store.save_rollout(after, before)
            except Conflict as error:
                lost = error
                continue
            return await self._applied(after)
        raise lost

    async def _check_still_champion(self, rollout: Rollout, act: Act) -> None:
        """After its end, a rollout has nothing to say once somebody has made another version champion."""
        if act is not machine.rollback or rollout.state is not RolloutState.PROMOTED or not rollout.is_settled:
            return
        champion = await self._live.champion(rollout.model_id)
        if champion != rollout.candidate:
            raise Conflict(
                f"rollout {rollout.rollout_id} promoted version {rollout.candidate}, and version {champion} has become "
                "champion since: there is nothing to roll back"
            )

    async def _applied(self, rollout: Rollout) -> Rollout:
        """The rollout once everything follows it. What is away now follows later: it is decided, and not to be asked
        for again."""
        from optagent.loop.rollout.reconcile import follow

        try:
            return await follow(rollout.rollout_id, self._live)
        except (Conflict, Unavailable) as error:
            _log.warning("%s of %s is decided, not everything follows yet: %s", rollout.state, rollout.model_id, error)
            return await self._store.rollout(rollout.rollout_id)
