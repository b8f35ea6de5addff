"""Supervise: one pass over all models; for each, what is decided is looked at again, and everything follows it."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.model import ModelSpec
from optagent.domain.rollout import Rollout, Transition
from optagent.domain.rollout_look import RolloutState
from optagent.errors import Conflict, OptAgentError
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.look import look_and_advance
from optagent.loop.rollout.reconcile import follow, follow_registry

_log = logging.getLogger(__name__)

_PATIENCE_S = 2.0  # of a pass, so that gateways that load for one model do not hold up the way back of another
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class SupervisorPass:
    """What a pass over the models did, in words; by model, what went wrong, and the state of the rollout it had."""

    done: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, RolloutState] = field(default_factory=dict)


@dataclass(slots=True)
class _Seen:
    """What a pass has come to with one model, however far it got."""

    done: list[str] = field(default_factory=list)
    state: RolloutState | None = None
    error: str = ""


async def supervise(context: RolloutContext) -> SupervisorPass:
    """Takes each model a step nearer to what is meant. One that cannot be helped now is named, and tried again.

    Raises Unavailable where the store does not even list the models.
    """
    specs, turn = await context.store.models(), asyncio.Semaphore(_AT_ONCE)

    async def watched(spec: ModelSpec) -> _Seen:
        seen = _Seen()
        async with turn:
            try:
                await _step(spec, context, seen)
            except OptAgentError as error:
                seen.error = str(error)
            except Exception as error:
                _log.exception("the rollout of %s is not supervised", spec.model_id)
                seen.error = f"{type(error).__name__}: {error}"
        return seen

    found = dict(zip([spec.model_id for spec in specs], await asyncio.gather(*map(watched, specs)), strict=True))
    return SupervisorPass(
        tuple(line for seen in found.values() for line in seen.done),
        {model_id: seen.error for model_id, seen in found.items() if seen.error},
        {model_id: seen.state for model_id, seen in found.items() if seen.state is not None},
    )


async def _step(spec: ModelSpec, context: RolloutContext, seen: _Seen) -> None:
    latest = await context.store.rollouts(spec.model_id, 1)
    if latest and (latest[0].state.is_active or not latest[0].is_settled):
        rollout = await _carried(latest[0], spec, context, seen)
        if rollout.state.is_active:
            return
    swapped = await follow_registry(spec.model_id, context, _PATIENCE_S)
    if swapped is not None and swapped.changed:
        seen.done.append(f"{spec.model_id}: version {swapped.table.champion} answers")


async def _carried(rollout: Rollout, spec: ModelSpec, context: RolloutContext, seen: _Seen) -> Rollout:
    """The rollout after what was decided is done, a look, and what that decides.

    A gateway or registry that is away does not keep us from looking: harm must have its way back all the same.
    """
    seen.state, told, trouble = rollout.state, rollout.settled, None
    try:
        rollout = await follow(rollout.rollout_id, context, _PATIENCE_S)
    except OptAgentError as error:
        trouble = error
    if rollout.state.is_active:
        known = rollout
        with contextlib.suppress(Conflict):  # another pass was sooner, and has everything follow
            rollout = await look_and_advance(rollout, spec, context)
        if rollout.state is not known.state or rollout.step != known.step:
            rollout, trouble = await follow(rollout.rollout_id, context, _PATIENCE_S), None
    seen.state = rollout.state
    seen.done += [_said(rollout, change) for change in rollout.transitions[told : rollout.settled]]
    if trouble is not None:
        raise trouble
    return rollout


def _said(rollout: Rollout, change: Transition) -> str:
    step = f" {rollout.policy.ramp[change.step]:.0%}" if change.state is RolloutState.RAMP else ""
    return f"{rollout.model_id}: version {rollout.candidate} {change.state}{step} ({change.by}: {change.reason})"
