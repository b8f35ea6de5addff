"""Retention pass: the facts of each model are gathered, what may go is decided, and it goes, with an audit entry.

The erasure of rows by their ids is here, too.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from optagent.domain.audit import AuditEntry
from optagent.domain.model import ModelSpec
from optagent.domain.retention import (
    ERASED,
    PRUNED,
    Pruning,
    RetentionFacts,
    RetentionPlan,
    plan_retention,
)
from optagent.domain.rollout import Rollout
from optagent.errors import InvalidRequest, ModelNotFound, OptAgentError, Unavailable
from optagent.loop.context import Ports
from optagent.loop.mixture.ports import MixturePorts
from optagent.ports import Observations, Registry

_log = logging.getLogger(__name__)

_MOST_ROLLOUTS = 10_000
_MOST_PROCESSES = 1000
_ONCE_S = 2 * 86_400.0


async def prune_models(ports: Ports, who: str, dry_run: bool) -> tuple[Pruning, ...]:
    """Prunes all models. One that cannot be pruned is reported with its error, and the others are pruned all the same.

    Raises Unavailable where the store cannot list the models.
    """
    return tuple([await _prune_model(spec, ports, who, dry_run) for spec in await ports.store.models()])


async def prune_daily(ports: Ports, who: str) -> tuple[Pruning, ...]:
    """Prunes all models unless any agent on the same store did so on the same day (UTC).

    A store that cannot take the claim may be full, and then pruning is what it needs.
    """
    day = int(ports.clock.now() // 86_400)
    with suppress(Unavailable):
        if not await ports.store.claim_once(f"retention:{day}", _ONCE_S):
            return ()
    return await prune_models(ports, who, dry_run=False)


async def erase_rows(model_id: str, ids: Sequence[str], ports: Ports, who: str) -> Mapping[str, int]:
    """Removes all recorded rows of these ids, and returns their number by kind.

    The audit entry holds the number of ids and the SHA-256 of the sorted ids, a line feed between them. Raises
    ModelNotFound, InvalidRequest without ids, and Unavailable.
    """
    await ports.store.model(model_id)
    distinct = sorted(set(ids))
    if not distinct or "" in distinct:
        raise InvalidRequest(f"ids: at least one is needed and none may be empty, got {len(distinct)}")
    await _settle_mixture(model_id, ports)
    rows = await asyncio.to_thread(ports.require("observations").erase, model_id, distinct)
    digest = sha256("\n".join(distinct).encode()).hexdigest()
    detail = {"ids": len(distinct), "ids_sha256": digest, "rows": dict(rows)}
    await ports.store.append_audit(AuditEntry(ports.clock.now(), who, ERASED, model_id, detail=detail))
    return rows


async def _settle_mixture(model_id: str, ports: Ports) -> None:
    """Has rows that only the journal of a mixture holds archived, where an erasure reaches them."""
    record = await ports.store.mixture(model_id)
    if record is not None and not record.is_settled:
        from optagent.loop.mixture.advance import settle  # what it imports takes a second

        await settle(record, MixturePorts.of(ports))


async def _prune_model(spec: ModelSpec, ports: Ports, who: str, dry_run: bool) -> Pruning:
    pruning = Pruning(RetentionPlan(spec.model_id, 0.0), dry_run=dry_run)
    try:
        facts = await _gather_facts(spec, ports)
        pruning = replace(pruning, plan=plan_retention(facts, ports.retention))
        rows = await _apply_plan(pruning.plan, facts, ports, dry_run)
        pruning = replace(pruning, rows=rows)
    except OptAgentError as error:
        pruning = replace(pruning, error=str(error))
    except Exception as error:
        _log.exception("%s is not pruned", spec.model_id)
        pruning = replace(pruning, error=f"{type(error).__name__}: {error}")
    if not dry_run and not (pruning.is_empty and not pruning.error):
        await ports.store.append_audit(_audit_entry(pruning, ports.clock.now(), who))
    return pruning


async def _gather_facts(spec: ModelSpec, ports: Ports) -> RetentionFacts:
    store, now, model_id = ports.store, ports.clock.now(), spec.model_id
    tables = [] if ports.routes is None else await _tables_of(model_id, ports)
    oldest = now - min(ports.retention.processes_s, now)
    unended = [each for each in await store.processes(model_id, _MOST_PROCESSES) if not each.status.has_ended]
    return RetentionFacts(
        model_id,
        now,
        versions=await asyncio.to_thread(ports.registry.versions, model_id),
        rollouts=await store.rollouts(model_id, _MOST_ROLLOUTS),
        processes=await store.old_processes(model_id, oldest, _MOST_PROCESSES),
        routed=frozenset(version for table in tables for version in table.versions),
        is_busy=bool(unended),
        window_s=ports.monitoring_of(spec).window_s + spec.label_delay_s,
    )


async def _tables_of(model_id: str, ports: Ports) -> list[Any]:
    routes = ports.require("routes")
    tables = [await routes.active_table(model_id), await routes.staged_table(model_id)]
    return [table for table in tables if table is not None]


async def _apply_plan(plan: RetentionPlan, facts: RetentionFacts, ports: Ports, dry_run: bool) -> Mapping[str, int]:
    """Lets go of what the plan names, and returns the number of rows by kind."""
    rows: Mapping[str, int] = {}
    if ports.observations is not None:
        limits = (plan.rows_before, plan.training_before, dry_run)
        rows = await asyncio.to_thread(ports.observations.prune, plan.model_id, *limits)
    if dry_run:
        return rows
    await ports.store.drop_rollouts(_rollouts_named(facts, plan))
    await ports.store.drop_processes([each for each in facts.processes if each.process_id in plan.processes])
    await asyncio.to_thread(_delete_versions, plan, facts, ports.registry, ports.observations)
    return rows


def _rollouts_named(facts: RetentionFacts, plan: RetentionPlan) -> list[Rollout]:
    return [rollout for rollout in facts.rollouts if rollout.rollout_id in plan.rollouts]


def _delete_versions(
    plan: RetentionPlan, facts: RetentionFacts, registry: Registry, observations: Observations | None
) -> None:
    for version in facts.versions:
        if version.version not in plan.versions:
            continue
        with suppress(ModelNotFound):  # another pruning was sooner
            if registry.version(plan.model_id, version.version).aliases:
                continue  # it was given one since
            if observations is not None:
                observations.drop_reference(plan.model_id, version.version)
            registry.delete_version(version)


def _audit_entry(pruning: Pruning, now: float, who: str) -> AuditEntry:
    plan = asdict(pruning.plan)
    names = ("rows_before", "training_before", "versions", "rollouts", "reasons")
    detail = {**{name: plan[name] for name in names}, "processes": len(plan["processes"]), "rows": dict(pruning.rows)}
    return AuditEntry(now, who, PRUNED, pruning.plan.model_id, pruning.error or "done", detail=detail)
