"""Gateway ports: the adapters of a gateway process, which leaves MLflow and the models' libraries to its children."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optagent.bootstrap import model_parts, parts
from optagent.domain.source_rules import SourceRules
from optagent.errors import NotFound
from optagent.ports import Clock, Histories, IdempotencyStore, Loader, Observations, Routes, Sessions, Store, Tokens
from optagent.settings import Settings

if TYPE_CHECKING:
    from optagent.arrays import Matrix
    from optagent.training.encoding import Schema


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Request limits are for a token, a minute and a gateway; backlogs are the most rows that wait before rows drop."""

    requests_per_minute: int
    predictions_per_minute: int
    max_body_bytes: int
    max_rows: int
    shadow_backlog: int
    record_backlog: int


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """The ports of one gateway, and its limits; `close` it at the end."""

    routes: Routes
    store: Store
    tokens: Tokens
    sessions: Sessions
    kept_answers: IdempotencyStore
    observations: Observations
    histories: Histories
    loader: Loader
    clock: Clock
    limits: GatewayLimits
    source_rules: SourceRules
    resources: AsyncExitStack

    async def close(self) -> None:
        await self.resources.aclose()


async def create_gateway_ports(settings: Settings) -> GatewayPorts:
    """Makes the ports without a call to Redis; starts the embedded Redis, and raises Unavailable if that fails.

    Until the ports are closed, trials and replays on this machine run at idle priority.
    """
    from optagent.adapters.cluster.gateway_mark import mark_gateway
    from optagent.adapters.serving.isolated import IsolatedLoader

    await asyncio.to_thread(parts.make_home, settings)
    async with AsyncExitStack() as resources:
        resources.enter_context(mark_gateway())
        url = await asyncio.to_thread(parts.redis_url, settings, resources)
        routes, store, tokens, kept_answers = (
            parts.routes(url),
            parts.store(url, settings),
            parts.tokens(url),
            parts.kept_answers(url),
        )
        observations = parts.observations(url, settings)
        rows_for = partial(reference_rows, parts.observations_folder(settings))
        loader = IsolatedLoader(
            model_parts.registry_recipe(settings), model_parts.bundle_cache(settings), rows_for, settings.max_rows
        )
        sessions, histories = parts.sessions(url), parts.histories(url)
        for port in (routes, store, tokens, sessions, kept_answers, histories):
            resources.push_async_callback(port.close)
        for blocking in (observations, loader):
            resources.push_async_callback(asyncio.to_thread, blocking.close)
        return GatewayPorts(
            routes=routes,
            store=store,
            tokens=tokens,
            sessions=sessions,
            kept_answers=kept_answers,
            observations=observations,
            histories=histories,
            loader=loader,
            clock=parts.clock(),
            limits=_limits(settings),
            source_rules=settings.source_rules,
            resources=resources.pop_all(),
        )


def reference_rows(observations: Path, model_id: str, version: str, schema: Schema) -> Matrix | None:
    """Encoded rows of a version's holdout on which its engines are compared; None where none are stored.

    It gets a folder and not the settings, since it is called in a process that may run a user's code.
    """
    from optagent.adapters.state.archive.parquet import ParquetArchive
    from optagent.loop.observe.reference import decode_reference
    from optagent.training.live_rows import model_matrix

    try:
        reference = decode_reference(ParquetArchive(observations).reference(model_id, version))
    except NotFound:
        return None
    if reference.schema != schema:
        return None
    return model_matrix(reference.observed.x, schema)


def _limits(settings: Settings) -> GatewayLimits:
    return GatewayLimits(
        settings.requests_per_minute,
        settings.predictions_per_minute,
        round(settings.max_body_mb * 1e6),
        settings.max_rows,
        settings.shadow_backlog,
        settings.record_backlog,
    )
