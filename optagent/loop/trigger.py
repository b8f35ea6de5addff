"""Retraining triggers: optimizations that the policies of models call for, queued once for each cause."""

import asyncio
from dataclasses import replace
from hashlib import sha256

from optagent.domain.command import OptimizeModel
from optagent.domain.model import ModelSpec
from optagent.domain.optimization import UNCHANGED
from optagent.domain.policy import Action, DueTrigger, PolicyFacts, RetrainingPolicy, due_trigger
from optagent.domain.process import Process, Status
from optagent.errors import Conflict
from optagent.loop.champion import champion_of
from optagent.loop.commands import check_command, new_process
from optagent.loop.context import Ports

_MOST_PROCESSES = 400


async def trigger_due(ports: Ports) -> tuple[Process, ...]:
    """Checks each model with a policy, and queues an optimization where the policy calls for one.

    Where several agents see the same cause, one of them queues it. A model whose policy only notifies gets none: people
    are told of its alerts.
    """
    processes = []
    for spec in await ports.store.models():
        if spec.policy is None or spec.policy.action is Action.NOTIFY:
            continue
        trigger = due_trigger(spec.policy, await gather_facts(spec, ports), ports.min_new_labels)
        process = None if trigger is None else await _queue_optimization(spec, spec.policy, trigger, ports)
        if process is not None:
            processes.append(process)
    return tuple(processes)


async def gather_facts(spec: ModelSpec, ports: Ports) -> PolicyFacts:
    """The present facts by which a model's policy decides."""
    now = ports.clock.now()
    processes = await ports.store.processes(spec.model_id, limit=_MOST_PROCESSES)
    runs = [process.created_at for process in processes if process.kind == "optimize"]
    idle = [process.created_at for process in processes if (process.result or {}).get("status") == UNCHANGED]
    if any(process.kind == "optimize" and not process.status.has_ended for process in processes):
        runs = [*runs, now]  # one at a time
    if any(rollout.state.is_active for rollout in await ports.store.rollouts(spec.model_id, 1)):
        runs = [*runs, now]  # its candidate first
    champion = await asyncio.to_thread(champion_of, spec.model_id, ports.registry)
    trained_at = now if champion is None else champion.created_at  # without one there is nothing to improve on
    labels = 0
    if ports.observations is not None and spec.policy is not None and "new_labels" in spec.policy.triggers:
        labels = await asyncio.to_thread(_count_labels, spec, ports, max([trained_at, *runs]))
    return PolicyFacts(now, trained_at, await ports.store.alerts(spec.model_id), runs, labels, idle)


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
    )
    process = new_process(await check_command(command, ports), ports)
    cause = sha256(f"{spec.model_id}:{trigger.key}".encode()).hexdigest()[:12]
    process = replace(process, process_id=f"optimize-{cause}", status=Status.QUEUED)
    try:
        await ports.store.enqueue_process(process)
    except Conflict:
        return None
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
