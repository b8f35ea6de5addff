"""Manual decisions: a person promotes, aborts or rolls back the model's latest rollout."""

from collections.abc import Callable
from dataclasses import dataclass

from optagent.domain.rollout import Rollout, rollback
from optagent.domain.rollout_look import RolloutState
from optagent.errors import Conflict, NotFound
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.reconcile import follow_decision
from optagent.ports import Store

_TRIES = 10

Act = Callable[[Rollout, str, str, float, str | None], Rollout]
"""One of `promote`, `abort` and `rollback` of `domain.rollout`: by whom, why, when, and the id of the decision."""


@dataclass(frozen=True, slots=True)
class ManualDecision:
    """A decision about the latest rollout of a model. One of the same `decision_id` is made once."""

    model_id: str
    act: Act
    who: str
    why: str
    decision_id: str


async def latest_rollout(model_id: str, store: Store) -> Rollout:
    """The newest rollout of a model; raises ModelNotFound, and NotFound where it has had none."""
    await store.model(model_id)
    for latest in await store.rollouts(model_id, 1):
        return latest
    raise NotFound(f"model {model_id!r} has had no rollout")


async def decide_by_hand(decision: ManualDecision, context: RolloutContext) -> Rollout:
    """Acts on the model's latest rollout, as it is after any look that has just decided.

    A decision that was made before changes nothing. Raises Conflict for an act that the rollout's state does not allow,
    and NotFound where there is no rollout.
    """
    for _ in range(_TRIES):
        before = await latest_rollout(decision.model_id, context.store)
        if any(change.decision_id == decision.decision_id for change in before.transitions):
            return await follow_decision(before, context)
        await _check_still_champion(before, decision.act, context)
        after = decision.act(before, decision.who, decision.why, context.clock.now(), decision.decision_id)
        try:
            await context.store.save_rollout(after, before)
        except Conflict as error:
            conflict = error
            continue
        return await follow_decision(after, context)
    raise conflict


async def _check_still_champion(rollout: Rollout, act: Act, context: RolloutContext) -> None:
    """Raises Conflict for the rollback of a rollout that has ended where another version has become champion since."""
    if act is not rollback or rollout.state is not RolloutState.PROMOTED or not rollout.is_settled:
        return
    champion = await context.champion(rollout.model_id)
    if champion != rollout.candidate:
        raise Conflict(
            f"rollout {rollout.rollout_id} promoted version {rollout.candidate}, and version {champion} has become "
            "champion since: there is nothing to roll back"
        )
