"""Rollout verbs: a candidate replaces the champion step by step, or is taken back."""

import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optagent.agent.acts import acting_as, current_actor, named_actor
from optagent.agent.base import AgentBase
from optagent.domain.model import CHALLENGER
from optagent.domain.rollout import Rollout, abort, promote, rollback
from optagent.domain.strategy import strategy_named

if TYPE_CHECKING:
    from optagent.loop.rollout.context import RolloutContext
    from optagent.loop.rollout.replay import RolloutReplay
    from optagent.loop.rollout.supervise import SupervisorPass
    from optagent.loop.seed_history import Plans, SeedingPass

_DECISIONS = {"promote": promote, "abort": abort, "rollback": rollback}

# What rollouts are judged by imports scipy, which takes a second: it is imported where it is needed.


class RolloutVerbs(AgentBase):
    """Starts rollouts, advances them by their evidence, and lets people decide them by hand."""

    async def start_rollout(
        self,
        model_id: str,
        candidate: str = CHALLENGER,
        strategy: str = "balanced",
        policy: Mapping[str, Any] | None = None,
        who: str = "",
    ) -> Rollout:
        """Lets a version or alias compete with the champion: in shadow first, then on a growing share of requests.

        `policy` are fields of `RolloutPolicy` that replace the strategy's. `label_delay_s`, by default the model's
        label horizon where it is a duration, must be long enough for nearly all labels to come: where bad outcomes are
        known sooner, the early labels mislead. Answers when the gateways route by it, or after half a minute; a rollout
        that they cannot load is aborted, with their reason. Raises Conflict where there is no champion, another rollout
        is active, or the candidate is another kind of model. `who` is the name of the person, by default the user of
        this machine; over HTTP it is always the token.
        """
        with acting_as(named_actor(who)):
            asked = {"candidate": candidate, "strategy": strategy, "policy": policy}
            detail = {name: value for name, value in asked.items() if value is not None}
            work = self._start_rollout(model_id, candidate, strategy, policy or {})
            return await self._perform("rollout.start", model_id, work, **detail)

    async def rollout(self, rollout_id: str) -> Rollout:
        """The rollout of that id, with every look and every transition; raises NotFound."""
        return await self._ports.store.rollout(rollout_id)

    async def replay_rollout(self, rollout_id: str) -> "RolloutReplay":
        """Decides a stored rollout again, and compares bit for bit; raises NotFound."""
        from optagent.loop.rollout.replay import replay_rollout

        return replay_rollout(await self._ports.store.rollout(rollout_id))

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        """The rollouts of all models or of one, the newest first."""
        return await self._ports.store.rollouts(model_id, limit)

    async def latest_rollout(self, model_id: str) -> Rollout:
        """The newest rollout of a model; raises ModelNotFound, and NotFound where the model has had none."""
        from optagent.loop.rollout.decide import latest_rollout

        return await latest_rollout(model_id, self._ports.store)

    async def promote_rollout(self, model_id: str, who: str = "", why: str = "by hand") -> Rollout:
        """Makes the candidate champion, to be watched while it bakes; called while it bakes, ends the baking."""
        return await self._decide("promote", model_id, who, why)

    async def abort_rollout(self, model_id: str, who: str = "", why: str = "by hand") -> Rollout:
        """Routes all requests to the champion again; Conflict once the candidate has replaced it: then roll back."""
        return await self._decide("abort", model_id, who, why)

    async def rollback_rollout(self, model_id: str, who: str = "", why: str = "by hand") -> Rollout:
        """Makes the former champion champion again, also after the end of the model's latest rollout."""
        return await self._decide("rollback", model_id, who, why)

    async def supervise_once(self) -> "SupervisorPass":
        """Advances each rollout by its evidence, and brings router and registry in line; errors are reported by model.

        To be called every second or so; several agents may do so at once.
        """
        from optagent.loop.rollout.supervise import supervise

        return await supervise(self._rollout_context)

    async def seed_histories_once(self) -> "SeedingPass":
        """Keeps the newest rows of the data of models with a history, as the past of served rows; errors are reported
        by model.

        To be called every few seconds. What was kept once is not read again.
        """
        from optagent.loop.seed_history import seed_histories

        return await seed_histories(self._ports, self._history_plans)

    @cached_property
    def _history_plans(self) -> "Plans":
        return {}

    @cached_property
    def _rollout_context(self) -> "RolloutContext":
        from optagent.loop.rollout.context import RolloutContext

        return RolloutContext.of(self._ports)

    async def _start_rollout(self, model_id: str, candidate: str, strategy: str, changes: Mapping[str, Any]) -> Rollout:
        from optagent.loop.rollout.start import StartRollout, start_rollout

        actor = current_actor()
        rollout_id = f"rollout-{actor.derive_id('rollout') or uuid.uuid4().hex[:12]}"
        start = StartRollout(model_id, candidate, strategy_named(strategy), changes, str(actor), rollout_id)
        return await start_rollout(start, self._rollout_context, self._ports.datasets)

    async def _decide(self, verb: str, model_id: str, who: str, why: str) -> Rollout:
        from optagent.loop.rollout.decide import ManualDecision, decide_by_hand

        with acting_as(named_actor(who)):
            actor = current_actor()
            decision_id = actor.derive_id(verb) or uuid.uuid4().hex[:12]
            decision = ManualDecision(model_id, _DECISIONS[verb], str(actor), why, decision_id)
            work = decide_by_hand(decision, self._rollout_context)
            return await self._perform(f"rollout.{verb}", model_id, work, why=why)
