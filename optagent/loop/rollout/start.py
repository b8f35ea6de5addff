"""Rollout start: a version that could replace the champion becomes the candidate of a new rollout, with its rules."""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optagent.codec import decode, plain
from optagent.domain.gate_evidence import GateEvidence
from optagent.domain.model import ModelSpec
from optagent.domain.rollout import Rollout, begin
from optagent.domain.rollout_policy import ERRORS, SLOW, RolloutPolicy, policy_of, suit_policy
from optagent.domain.strategy import Strategy
from optagent.errors import Conflict, InvalidRequest, NotFound
from optagent.loop.champion import champion_of
from optagent.loop.observe.inputs import load_or_make_reference
from optagent.loop.observe.reference import Reference
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.evidence import loss_moments, row_loss
from optagent.loop.rollout.gate_rows import GateRows
from optagent.loop.rollout.reconcile import follow, follow_decision
from optagent.loop.rollout.traffic import find_traffic
from optagent.loop.train.load import load_version
from optagent.ports import Datasets, Observations, Registry
from optagent.training.encoding import Schema

_APART_S = 0.001  # between the starts of two rollouts of a model
_GUARDRAILS = frozenset({ERRORS, SLOW})


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The two versions of a rollout, its rules, and the evidence of the gate that shadow goes on from."""

    champion: str
    candidate: str
    policy: RolloutPolicy
    gate: GateEvidence | None = None


@dataclass(frozen=True, slots=True)
class StartRollout:
    """A command to let a version or alias compete; `changes` are fields of the strategy's policy.

    `rollout_id` is the id that the rollout gets; where there is a rollout of that id, the command was carried out.
    `gate_rows` are those on which this very candidate was compared with this champion, if it was.
    """

    model_id: str
    candidate: str
    strategy: Strategy
    changes: Mapping[str, Any]
    who: str
    rollout_id: str = ""
    gate_rows: GateRows | None = None


async def start_rollout(request: StartRollout, context: RolloutContext, datasets: Datasets) -> Rollout:
    """Starts a rollout once the one before has ended; answers when router and log follow it, or after half a minute.

    Raises what `plan_rollout` does, and Conflict while another rollout is active.
    """
    earlier = await _find_rollout(request.rollout_id, context)
    if earlier is not None:
        return await follow_decision(earlier, context)
    spec = await context.store.model(request.model_id)
    earliest = await _settle_latest(request.model_id, context)
    plan = await asyncio.to_thread(plan_rollout, request, spec, context.registry, context.observations, datasets)
    now, rollout_id = max(context.clock.now(), earliest), request.rollout_id or f"rollout-{uuid.uuid4().hex[:12]}"
    rollout = begin(
        rollout_id, request.model_id, plan.champion, plan.candidate, plan.policy, now, request.who, gate=plan.gate
    )
    try:
        await context.store.create_rollout(rollout)
    except Conflict:
        if await _find_rollout(request.rollout_id, context) is None:
            raise  # it is another one that is active
    return await follow_decision(rollout, context)


async def _find_rollout(rollout_id: str, context: RolloutContext) -> Rollout | None:
    """The stored rollout of that id; None where there is none, and for an empty id."""
    with suppress(NotFound):
        return await context.store.rollout(rollout_id) if rollout_id else None
    return None


async def _settle_latest(model_id: str, context: RolloutContext) -> float:
    """Settles the model's latest rollout, which must have ended; answers the time at which the next one may start.

    That is later than the start of the latest even where this machine's clock is behind: the newest start counts.
    """
    for latest in await context.store.rollouts(model_id, 1):
        if latest.state.is_active:
            raise Conflict(f"rollout {latest.rollout_id!r} of {model_id} is active; end it before another starts")
        if not latest.is_settled:
            await follow(latest.rollout_id, context)
        return latest.started_at + _APART_S
    return 0.0


def plan_rollout(
    request: StartRollout, spec: ModelSpec, registry: Registry, observations: Observations, datasets: Datasets
) -> RolloutPlan:
    """The versions and rules of the rollout that `request` asks for; blocks.

    Rows and times follow from the model's traffic of the newest days, where that is recorded. Raises Conflict where
    there is no champion, or where the candidate is another kind of model; InvalidRequest for a bad rule, a rollout that
    could not end, and a candidate that is the champion; ModelNotFound and CorruptBundle.
    """
    champion = champion_of(spec.model_id, registry)
    if champion is None:
        raise Conflict(
            f"model {spec.model_id!r} has no champion that a candidate could replace: optagent tune {spec.model_id}"
            " makes one"
        )
    candidate = registry.version(spec.model_id, request.candidate)
    if candidate.version == champion.version:
        raise InvalidRequest(f"{request.candidate}: version {champion.version} is the champion already")
    predictor = load_version(champion, registry)
    _check_same_answers(candidate.version, load_version(candidate, registry).schema, predictor.schema)
    reference, _ = load_or_make_reference(champion, predictor, spec, observations, datasets, seed=0)
    policy = policy_for(spec, request.strategy, request.changes, reference)
    observations.drain(spec.model_id)
    loss = row_loss(spec.task, spec.metric, reference.observed)
    traffic = find_traffic(spec.model_id, reference, loss, observations)
    if traffic is not None:
        policy = suit_policy(policy, traffic, request.changes)
    gate = None if request.gate_rows is None else request.gate_rows.sum_up(loss, policy.alpha)
    return RolloutPlan(champion.version, candidate.version, policy, gate)


def policy_for(spec: ModelSpec, strategy: Strategy, changes: Mapping[str, Any], reference: Reference) -> RolloutPolicy:
    """The strategy's rules for the champion's losses on its reference, with the changes that were asked for.

    Labels are waited for during the model's label horizon, where that is a duration.
    """
    if not isinstance(changes, Mapping):
        raise InvalidRequest(f"policy: a mapping of fields is needed, got {type(changes).__name__}")
    loss = row_loss(spec.task, spec.metric, reference.observed)
    usual = policy_of(strategy, *loss_moments(loss, reference.observed))
    policy = decode(RolloutPolicy, {**plain(usual), "label_delay_s": spec.label_delay_s, **changes})
    unknown = sorted(set(policy.guardrails) - _GUARDRAILS)
    if unknown:
        raise InvalidRequest(f"guardrails: unknown {', '.join(unknown)}; one of {sorted(_GUARDRAILS)}")
    return policy


def _check_same_answers(version: str, candidate: Schema, champion: Schema) -> None:
    """Raises Conflict where callers cannot read the candidate's answers as they read the champion's."""
    for name in ("task", "target", "classes"):
        own, needed = getattr(candidate, name), getattr(champion, name)
        if own != needed:
            raise Conflict(
                f"version {version} has {name} {_describe(own)}, the champion {_describe(needed)}: they must be equal"
            )


def _describe(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(str(value))
