"""Manual decisions: a person promotes, aborts or rolls back the model's latest rollout."""

from collections.abc import Callable

from optagent.domain.rollout import Rollout, rollback
from optagent.domain.rollout_look import RolloutState
from optagent.errors import Conflict, NotFound
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.reconcile import follow_decision
from optagent.ports import Store

_TRIES = 10

Act = Callable[[Rollout, str, str, float], Rollout]
"""One of `promote`, `abort` and `rollback` of `domain.rollout`: by whom, why and when."""


async def latest_rollout(model_id: str, store: Store) -> Rollout:
    """The newest rollout of a model; raises ModelNotFound, and NotFound where it has had none."""
    await store.model(model_id)
    for latest in await store.rollouts(model_id, 1):
        return latest
    raise NotFound(f"model {model_id!r} has had no rollout")


async def decide_by_hand(model_id: str, act: Act, who: str, why: str, context: RolloutContext) -> Rollout:
    """Acts on the model's latest rollout, as it is after any look that has just decided.

    Raises Conflict for an act that the rollout's state does not allow, and NotFound where there is no rollout.
    """
    for _ in range(_TRIES):
        before = await latest_rollout(model_id, context.store)
        await _check_still_champion(before, act, context)
        after = act(before, who, why, context.clock.now())
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
