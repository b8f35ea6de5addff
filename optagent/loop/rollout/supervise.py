"""Rollout supervisor: one pass over all models, which settles and advances the rollout of each."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

from optagent.domain.model import ModelSpec
from optagent.domain.rollout import Rollout, Transition
from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict, InvalidData, OptAgentError
from optagent.loop.champion import champion_of
from optagent.loop.intervals.advance import advance_intervals
from optagent.loop.mixture.advance import advance_mixture
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.look import look_and_advance
from optagent.loop.rollout.reconcile import follow, follow_champion

_log = logging.getLogger(__name__)

_PATIENCE_S = 2.0  # of a pass, so that gateways that load for one model do not delay the rollback of another
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class SupervisorPass:
    """Report of a pass: the changes as text, and by model the error, if any, and the state of its rollout."""

    done: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, RolloutState] = field(default_factory=dict)


@dataclass(slots=True)
class _ModelOutcome:
    """Report of a pass about one model, filled in step by step: it holds what was done before an error."""

    done: list[str] = field(default_factory=list)
    state: RolloutState | None = None
    error: str = ""


async def supervise(context: RolloutContext) -> SupervisorPass:
    """Takes each model one step towards its intended state. A model with an error is reported, and tried again later.

    Raises Unavailable where the store cannot list the models.
    """
    specs, turn = await context.store.models(), asyncio.Semaphore(_AT_ONCE)

    async def report_on(spec: ModelSpec) -> _ModelOutcome:
        outcome = _ModelOutcome()
        async with turn:
            await _try_step(_supervise_model(spec, context, outcome), spec, outcome)
            await _try_step(_follow_labels(spec, context), spec, outcome)
        return outcome

    reports = await asyncio.gather(*map(report_on, specs))
    outcomes = {spec.model_id: outcome for spec, outcome in zip(specs, reports, strict=True)}
    return SupervisorPass(
        tuple(line for outcome in outcomes.values() for line in outcome.done),
        {model_id: outcome.error for model_id, outcome in outcomes.items() if outcome.error},
        {model_id: outcome.state for model_id, outcome in outcomes.items() if outcome.state is not None},
    )


async def _supervise_model(spec: ModelSpec, context: RolloutContext, outcome: _ModelOutcome) -> None:
    latest = await context.store.rollouts(spec.model_id, 1)
    if latest and (latest[0].state.is_active or not latest[0].is_settled):
        rollout = await _carry_on(latest[0], spec, context, outcome)
        if rollout.state.is_active:
            return
    champion = await asyncio.to_thread(champion_of, spec.model_id, context.registry)
    if champion is None:
        return
    mixture, trouble = None, None
    try:
        mixture = await advance_mixture(spec, champion, context.mixtures)
    except OptAgentError as error:  # what answers goes on
        active, trouble = await context.routes.active_table(spec.model_id), error
        mixture = None if active is None else active.mixture
    activation = await follow_champion(champion, mixture, context, _PATIENCE_S)
    if activation.changed:
        outcome.done.append(f"{spec.model_id}: {_describe_table(activation.table)}")
    if trouble is not None:
        raise trouble


async def _try_step(step: Awaitable[None], spec: ModelSpec, outcome: _ModelOutcome) -> None:
    """Awaits a step; the first error of a model is reported, and holds up no other step."""
    try:
        await step
    except OptAgentError as error:
        outcome.error = outcome.error or str(error)
    except Exception as error:
        _log.exception("%s is not supervised", spec.model_id)
        outcome.error = outcome.error or f"{type(error).__name__}: {error}"


async def _follow_labels(spec: ModelSpec, context: RolloutContext) -> None:
    """Brings the intervals of a model to the labels that have come; its table has them from the next pass on.

    Where a port is away, the thresholds of before go on; a champion without a usable holdout has none.
    """
    if not spec.intervals:
        context.intervals[spec.model_id] = None
        return
    champion = await asyncio.to_thread(champion_of, spec.model_id, context.registry)
    try:
        thresholds = None if champion is None else await advance_intervals(spec, champion, context.mixtures)
    except InvalidData:
        context.intervals[spec.model_id] = None
        raise
    context.intervals[spec.model_id] = thresholds


async def _carry_on(rollout: Rollout, spec: ModelSpec, context: RolloutContext, outcome: _ModelOutcome) -> Rollout:
    """The rollout after its last decision is settled, a look is taken, and the decision of that look is settled.

    A look is taken even where a gateway or the registry is down: a harmful candidate must be rolled back all the same.
    """
    outcome.state, settled, trouble = rollout.state, rollout.settled, None
    try:
        rollout = await follow(rollout.rollout_id, context, _PATIENCE_S)
    except OptAgentError as error:
        trouble = error
    if rollout.state.is_active:
        before = rollout
        with contextlib.suppress(Conflict):  # another pass was sooner, and settles the decision
            rollout = await look_and_advance(rollout, spec, context)
        if rollout.state is not before.state or rollout.step != before.step:
            rollout, trouble = await follow(rollout.rollout_id, context, _PATIENCE_S), None
    outcome.state = rollout.state
    outcome.done += [_describe_change(rollout, change) for change in rollout.transitions[settled : rollout.settled]]
    if trouble is not None:
        raise trouble
    return rollout


def _describe_table(table: RoutingTable) -> str:
    if table.mixture is None:
        return f"version {table.champion} answers{', with intervals' if table.intervals else ''}"
    return f"a mixture of versions {', '.join(dict.fromkeys(table.mixture.versions))} answers"


def _describe_change(rollout: Rollout, change: Transition) -> str:
    step = f" {rollout.policy.ramp[change.step]:.0%}" if change.state is RolloutState.RAMP else ""
    return f"{rollout.model_id}: version {rollout.candidate} {change.state}{step} ({change.by}: {change.reason})"
