"""Seeding of histories: the rows of a model's data become the past of its served rows, once for each routed plan."""

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from optagent.domain.model import ModelSpec
from optagent.errors import OptAgentError
from optagent.loop.context import Ports
from optagent.loop.train.load import load_schema
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.seed import seed_rows

Plans = MutableMapping[str, HistoryPlan | None]
"""The plans of versions that were looked at, by the digest of their bundle."""


@dataclass(frozen=True, slots=True)
class SeedingPass:
    """Report of a pass: the rows that were kept by model, and the errors by model."""

    rows: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


async def seed_histories(ports: Ports, plans: Plans) -> SeedingPass:
    """Keeps the newest rows of each series for routed versions whose plan has none yet; nothing without histories.

    A model with an error holds up no other, and is tried again at the next pass.
    """
    rows: dict[str, int] = {}
    errors: dict[str, str] = {}
    if ports.histories is None or ports.routes is None:
        return SeedingPass()
    for spec in await ports.store.models():
        if spec.history is None:
            continue
        try:
            count = await _seed_model(spec, ports, plans)
        except OptAgentError as error:
            errors[spec.model_id] = f"its served rows have no past yet: {error}"
        else:
            if count:
                rows[spec.model_id] = count
    return SeedingPass(rows, errors)


async def _seed_model(spec: ModelSpec, ports: Ports, plans: Plans) -> int:
    histories, routes = ports.require("histories"), ports.require("routes")
    tables = [await routes.active_table(spec.model_id), await routes.staged_table(spec.model_id)]
    count = 0
    for name in dict.fromkeys(version for table in tables if table is not None for version in table.versions):
        plan = await asyncio.to_thread(_plan_of, spec.model_id, name, ports, plans)
        if plan is None or await histories.is_seeded(spec.model_id, plan):
            continue
        columns = [plan.time, *([plan.key] if plan.key else []), *plan.columns]
        table = await asyncio.to_thread(ports.datasets.read, spec.data, list(dict.fromkeys(columns)))
        parts = seed_rows(plan, table)
        while part := await asyncio.to_thread(next, parts, None):
            await histories.keep(spec.model_id, plan, part)
            count += len(part)
        await histories.mark_seeded(spec.model_id, plan)
    return count


def _plan_of(model_id: str, name: str, ports: Ports, plans: Plans) -> HistoryPlan | None:
    version = ports.registry.version(model_id, name)
    if version.digest not in plans:
        plans[version.digest] = load_schema(version, ports.registry).history
    return plans[version.digest]
