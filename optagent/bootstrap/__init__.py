"""Composition root: the only place that reads settings and chooses adapters."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from optagent.adapters.cluster.job_cluster import find_job_cluster
from optagent.agent import OptimizationAgent
from optagent.bootstrap import model_parts, parts
from optagent.bootstrap.gateway import GatewayPorts, create_gateway_ports
from optagent.bootstrap.model_parts import tracking_uri
from optagent.bootstrap.parts import running_cluster
from optagent.bootstrap.serving import Serving, ServingState
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.train.study import SearchLimits
from optagent.ports import Histories, Notifier, Observations, Routes, Store, Tokens, Tracker
from optagent.settings import Settings, load_settings

__all__ = [
    "GatewayPorts",
    "Serving",
    "ServingState",
    "create_gateway_ports",
    "create_optimization_agent",
    "find_job_cluster",
    "running_cluster",
    "strict_agent",
    "tracking_uri",
]

_PORTS = (
    "clock",
    "datasets",
    "histories",
    "importer",
    "launcher",
    "loader",
    "monitors",
    "notifier",
    "observations",
    "registry",
    "routes",
    "row_files",
    "scoring_workers",
    "store",
    "studies",
    "tokens",
    "tracker",
    "tuner",
    "workers",
)


async def create_optimization_agent(
    settings: Settings | None = None, *, strict: bool = False, starts_cluster: bool = False, **overrides: Any
) -> OptimizationAgent:
    """An agent that is ready to work; close it, or use it as `async with await create_optimization_agent() as agent`.

    `overrides` are settings by name (`max_trials=20`) or whole ports (`store`, `tuner`, `tracker`, `registry`,
    `datasets`, `clock`, `importer`, `studies`, `observations`, `monitors`, `notifier`, `routes`, `histories`, `tokens`,
    `launcher`, `loader`, `workers`, `row_files`, `scoring_workers`). With `strict`, refused requests raise instead of
    answering with an `error`. Where both `store` and `observations` are given, Redis is not needed, and there are no
    `routes`, `histories` and `tokens` but those given too.

    Raises InvalidRequest for a bad setting and Unavailable, within 5 s and by name, for a configured Redis or MLflow
    that does not answer. Ray is not started before a search needs it; with `starts_cluster` a cluster that
    runs already is connected at once, in a thread, for a program that will search.
    """
    ports = {name: overrides.pop(name) for name in _PORTS if name in overrides}
    if settings is not None and overrides:
        raise InvalidRequest(f"give settings or overrides of them, not both: {sorted(overrides)}")
    settings = settings or load_settings(**overrides)
    parts.make_home(settings)
    async with AsyncExitStack() as resources:
        agent_ports = await _connect(settings, ports, resources, starts_cluster)
        return OptimizationAgent(agent_ports, resources.pop_all(), strict=strict)


async def strict_agent(settings: Settings) -> OptimizationAgent:
    """The agent that monitors, runners and the application make on their workers; refused requests raise."""
    return await create_optimization_agent(settings, strict=True)


async def _connect(settings: Settings, ports: dict[str, Any], resources: AsyncExitStack, starts_cluster: bool) -> Ports:
    cluster = parts.cluster(settings)
    if starts_cluster and "tuner" not in ports and cluster.runs_elsewhere:
        resources.push_async_callback(asyncio.to_thread, cluster.close)
        cluster.start_connecting()
    tracker: Tracker = ports.get("tracker") or model_parts.tracker(settings)
    resources.push_async_callback(asyncio.to_thread, tracker.close)
    await asyncio.to_thread(tracker.check)
    redis_url = None
    if "store" not in ports or "observations" not in ports:
        redis_url = await asyncio.to_thread(parts.redis_url, settings, resources)
    store: Store = ports["store"] if "store" in ports else parts.store(redis_url, settings)
    resources.push_async_callback(store.close)
    await store.check()
    observations: Observations = ports.get("observations") or parts.observations(redis_url, settings)
    resources.push_async_callback(asyncio.to_thread, observations.close)
    await asyncio.to_thread(observations.check)
    routes: Routes | None = ports.get("routes") or (parts.routes(redis_url) if redis_url else None)
    tokens: Tokens | None = ports.get("tokens") or (parts.tokens(redis_url) if redis_url else None)
    histories: Histories | None = ports.get("histories") or (parts.histories(redis_url) if redis_url else None)
    for port in (routes, tokens, histories):
        if port is not None:
            resources.push_async_callback(port.close)
    loader = ports.get("loader") or (None if "registry" in ports else model_parts.loader(settings))
    if loader is not None:
        resources.push_async_callback(asyncio.to_thread, loader.close)
    tuner = ports.get("tuner") or parts.tuner(settings, cluster)
    resources.push_async_callback(asyncio.to_thread, tuner.close)
    notifier: Notifier | None = ports["notifier"] if "notifier" in ports else parts.notifier(settings)
    if notifier is not None:
        resources.callback(notifier.close)
    recipe = partial(strict_agent, settings)
    workers = ports.get("workers") or parts.workers(cluster, settings)
    return Ports(
        store=store,
        datasets=ports.get("datasets") or parts.datasets(settings),
        tuner=tuner,
        registry=ports.get("registry") or model_parts.registry(settings),
        tracker=tracker,
        clock=ports.get("clock") or parts.clock(),
        limits=SearchLimits(settings.max_trials, settings.timeout_seconds, settings.early_stopping_rounds),
        importer=ports.get("importer") or model_parts.importer(settings),
        studies=ports.get("studies") or (parts.studies(settings) if "tuner" not in ports else None),
        observations=observations,
        monitors=ports.get("monitors") or parts.monitors(cluster, recipe, settings),
        routes=routes,
        histories=histories,
        tokens=tokens,
        launcher=ports.get("launcher") or parts.launcher(cluster, recipe),
        workers=workers,
        loader=loader,
        row_files=ports.get("row_files") or parts.row_files(),
        scoring_workers=ports.get("scoring_workers") or (workers if settings.ray_address is not None else None),
        notifier=notifier,
        monitoring=parts.monitoring(settings),
        min_new_labels=settings.min_samples_for_retrain,
        retention=settings.retention,
        max_queued=settings.max_queued,
        mixture_every_s=settings.mixture_every_seconds,
        draw_report=parts.draw_report,
        draw_backtest=parts.draw_backtest,
        backtester=parts.backtester(workers),
    )
