"""Retraining triggers: optimizations that the policies of models call for, queued once for each cause."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from optagent.domain.audit import AuditEntry
from optagent.domain.command import OptimizeModel
from optagent.domain.duration import seconds
from optagent.domain.model import ModelSpec
from optagent.domain.optimization import UNCHANGED
from optagent.domain.policy import Action, DueTrigger, PolicyFacts, RetrainingPolicy, Trigger, due_trigger
from optagent.domain.process import Process, Status
from optagent.domain.rollout import AUTOMATIC
from optagent.domain.slot import parse_slot
from optagent.errors import Conflict, OptAgentError
from optagent.loop.champion import champion_of
from optagent.loop.commands import check_command, new_process
from optagent.loop.context import Ports

_KIND = "optimize"
_YEAR_S = 365 * 86_400.0  # policies count their runs within it

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PolicyPass:
    """Report of a pass over the policies: the processes that were queued, and the errors by model."""

    queued: tuple[Process, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)


async def apply_policies(ports: Ports) -> PolicyPass:
    """Checks each model with a policy, and queues an optimization where the policy calls for one.

    Where several agents see the same cause, one of them queues it. A model whose policy only notifies gets none: people
    are told of its alerts. A model with an error is reported, and the others are checked all the same. Raises
    Unavailable where the store cannot list the models.
    """
    processes, errors = [], {}
    for spec in await ports.store.models():
        if spec.policy is None or spec.policy.action is Action.NOTIFY:
            continue
        try:
            process = await _apply_policy(spec, spec.policy, ports)
        except OptAgentError as error:
            errors[spec.model_id] = str(error)
        except Exception as error:
            errors[spec.model_id] = f"{type(error).__name__}: {error}"
            _log.debug("the policy of %s is not applied", spec.model_id, exc_info=True)
        else:
            processes += [] if process is None else [process]
    return PolicyPass(tuple(processes), errors)


async def _apply_policy(spec: ModelSpec, policy: RetrainingPolicy, ports: Ports) -> Process | None:
    trigger = due_trigger(policy, await gather_facts(spec, ports), ports.min_new_labels)
    return None if trigger is None else await _queue_optimization(spec, policy, trigger, ports)


async def gather_facts(spec: ModelSpec, ports: Ports) -> PolicyFacts:
    """The present facts by which a model's policy decides."""
    now = ports.clock.now()
    counted_s = _YEAR_S if spec.policy is None else max(_YEAR_S, seconds(spec.policy.cooldown))
    summaries = await ports.store.process_summaries(spec.model_id, _KIND, now - counted_s)
    runs = [summary.created_at for summary in summaries]
    idle = [summary.created_at for summary in summaries if summary.outcome == UNCHANGED]
    if any(not summary.has_ended for summary in summaries):
        runs = [*runs, now]  # one at a time
    if any(rollout.state.is_active for rollout in await ports.store.rollouts(spec.model_id, 1)):
        runs = [*runs, now]  # its candidate first
    champion = await asyncio.to_thread(champion_of, spec.model_id, ports.registry)
    trained_at = now if champion is None else champion.created_at  # without one there is nothing to improve on
    labels = 0
    if ports.observations is not None and spec.policy is not None and "new_labels" in spec.policy.triggers:
        labels = await asyncio.to_thread(_count_labels, spec, ports, max([trained_at, *runs]))
    due_slots: tuple[str, ...] = ()
    if spec.policy is not None and Trigger.GROWTH in spec.policy.triggers:
        record = await ports.store.mixture(spec.model_id)
        slots = [slot.name for slot in map(parse_slot, spec.policy.slots) if slot.is_trained]
        due_slots = () if record is None else record.due_slots(slots, spec.policy.growth)
    return PolicyFacts(now, trained_at, await ports.store.alerts(spec.model_id), runs, labels, idle, due_slots)


async def _queue_optimization(
    spec: ModelSpec, policy: RetrainingPolicy, trigger: DueTrigger, ports: Ports
) -> Process | None:
    """Queues an optimization under an id that follows from its cause, so that it is queued once; None where it was."""
    command = OptimizeModel(
        spec.model_id,
        optimization_type=str(policy.optimization_type),
        action=str(policy.action),
        strategy=policy.strategy,
        trials=policy.trials,
        timeout_s=policy.timeout_s,
        window=policy.window,
        gates=dict(policy.gates),
        rollout=dict(policy.rollout),
        time_range=await asyncio.to_thread(_newest_window, spec, ports),
        trigger=str(trigger.trigger),
        reason=trigger.reason,
        refit=policy.refit,
    )
    cause = sha256(f"{spec.model_id}:{trigger.key}".encode()).hexdigest()[:12]
    process = new_process(await check_command(command, ports), f"optimize-{cause}", ports)
    process = replace(process, status=Status.QUEUED)
    try:  # without a bound of the queue: a policy queues one at a time, and decay cannot wait for what people queued
        await ports.store.enqueue_process(process)
    except Conflict:
        return None
    detail = {"command": process.command, "process_id": process.process_id}
    entry = AuditEntry(ports.clock.now(), AUTOMATIC, "process.submit", spec.model_id, detail=detail)
    await ports.store.append_audit(entry)
    return process


def _newest_window(spec: ModelSpec, ports: Ports) -> str:
    """The newest performance window whose labels have had time to come, and the rows since, as a time range."""
    window_s = ports.monitoring_of(spec).window_s + spec.label_delay_s
    newest = None if ports.observations is None else ports.observations.latest_prediction_time(spec.model_id)
    end = ports.clock.now() if newest is None else newest + 1.0
    return f"{end - window_s!r}..{end!r}"


def _count_labels(spec: ModelSpec, ports: Ports, since: float) -> int:
    from optagent.loop.observe.labelled_rows import count_labelled_rows  # what it imports takes a second

    return count_labelled_rows(ports.require("observations"), spec, since)
