"""Mixture verbs: the standing of the versions that answer together, and acts on their weights by hand."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from optagent.agent.acts import acting_as, current_actor, named_actor
from optagent.agent.base import AgentBase
from optagent.domain.mixture import MixtureMode
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.time_range import Instant, parse_time_range
from optagent.errors import Conflict

if TYPE_CHECKING:
    from optagent.domain.mixture_status import MixtureReplay
    from optagent.loop.mixture.acts import MixtureAct
    from optagent.loop.rollout.context import RolloutContext

# What gateways are routed by imports scikit-learn, which takes a second: it is imported where it is needed.


class MixtureVerbs(AgentBase):
    """Shows the mixture of a model, and lets people hold its weights, undo them, or take rows out of them.

    All raise ModelNotFound, and NotFound where the model has no mixture. `who` is the name of the person, by default
    the user of this machine; over HTTP it is always the token.
    """

    async def mixture(self, model_id: str) -> MixtureStatus:
        """The weights now and over time, the loss of each slot, and the certificate that bounds that of the answers."""
        from optagent.loop.mixture.status import read_status

        return await read_status(model_id, self._ports.store)

    async def freeze_mixture(self, model_id: str, who: str = "", why: str = "by hand") -> MixtureStatus:
        """Leaves the weights as they are, whatever labels come; Conflict where the champion answers alone."""
        return await self._put_into_mode(model_id, MixtureMode.FROZEN, "freeze", who, why)

    async def thaw_mixture(self, model_id: str, who: str = "", why: str = "by hand") -> MixtureStatus:
        """Lets the weights follow the labels again, and the mixture answer where the champion answered alone."""
        return await self._put_into_mode(model_id, MixtureMode.LEARNING, "thaw", who, why)

    async def use_champion_only(self, model_id: str, who: str = "", why: str = "by hand") -> MixtureStatus:
        """Lets the champion answer alone, at once, until the mixture is thawed."""
        return await self._put_into_mode(model_id, MixtureMode.CHAMPION_ONLY, "champion_only", who, why)

    async def forget_mixture_rows(
        self, model_id: str, time_range: str | Sequence[Instant], who: str = "", why: str = "by hand"
    ) -> MixtureStatus:
        """Makes the weights again without the rows of a time range, which are left out for good.

        `time_range` is `2026-11-01..2026-11-03`, two instants, or a duration back from now; the rows are those whose
        requests came in it. They stay in the archive. Raises InvalidRequest for a range that ends after now.
        """
        from optagent.loop.mixture.acts import forget_rows

        with acting_as(named_actor(who)):
            act = self._act(model_id, why)
            window = parse_time_range(time_range, act.at)
            work = forget_rows(act, window.start, window.end, self._mixture_context)
            await self._perform("mixture.forget", model_id, work, why=why, start=window.start, end=window.end)
        return await self.mixture(model_id)

    async def replay_mixture(self, model_id: str) -> "MixtureReplay":
        """Learns the archived rows again, and compares all weights that were published, bit for bit, by their digests.

        The whole audit log is verified on the way. Raises Busy as `verify_audit`.
        """
        from optagent.loop.audit import replay_logged_mixture

        await self._ports.store.model(model_id)
        return await replay_logged_mixture(model_id, self._ports)

    @cached_property
    def _mixture_context(self) -> "RolloutContext":
        from optagent.loop.rollout.context import RolloutContext

        return RolloutContext.of(self._ports)

    async def _put_into_mode(self, model_id: str, mode: MixtureMode, verb: str, who: str, why: str) -> MixtureStatus:
        with acting_as(named_actor(who)):
            work = self._change_mode(self._act(model_id, why), mode)
            await self._perform(f"mixture.{verb}", model_id, work, why=why)
        return await self.mixture(model_id)

    async def _change_mode(self, act: "MixtureAct", mode: MixtureMode) -> None:
        from optagent.loop.mixture.acts import change_mode

        record = await self._ports.store.mixture(act.model_id)
        if mode is MixtureMode.FROZEN and record is not None and record.mode is MixtureMode.CHAMPION_ONLY:
            raise Conflict(
                f"the champion of {act.model_id!r} answers alone: a frozen mixture would answer; thaw it first"
            )
        await change_mode(act, mode, self._mixture_context)

    def _act(self, model_id: str, why: str) -> "MixtureAct":
        from optagent.loop.mixture.acts import MixtureAct

        return MixtureAct(model_id, str(current_actor()), why, self._ports.clock.now())
