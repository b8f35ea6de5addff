"""Ray Serve application: gateways that answer HTTP, one Control that holds the agent, one Supervisor.

All state is in Redis: each of the three may be killed at any moment and goes on when it is started again. Only settings
are deployed, no live objects. Serve pickles an ingress by value, so its work is in modules that the worker imports.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ray import serve

from optagent.bootstrap import strict_agent
from optagent.log_filter import hide_in
from optagent.settings import Settings, load_settings
from serve_app.control import LazyAgent, VerbServer
from serve_app.gateway_process import create_gateway
from serve_app.ray_metrics import ModelGauges, RolloutStates
from serve_app.supervisor import SupervisorLoops

_THREADS = 32  # of Control: each verb that blocks takes one
_AT_ONCE = 10_000  # far above what gateways admit: Serve lets what comes on top wait without end, they refuse it


class Gateway:
    """Answers predictions by itself, and everything else with the help of Control."""

    async def __init__(self, settings: Settings, control: Any, supervisor: Any) -> None:  # type: ignore[misc]
        _log_with_serve(settings)
        # By reference, answers go through Ray's object store: by gRPC, Serve's way here, 4 MB are the most.
        control = control.options(_by_reference=True)
        self._gateway = await create_gateway(settings, control, serve.get_replica_context().replica_id.unique_id)

    def __serve_build_asgi_app__(self) -> Any:
        return self._gateway.application

    async def __del__(self) -> None:
        await self._gateway.close()


class Control(VerbServer):
    """Holds the one agent that the API asks; calls of its verbs are answered by the base class."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        _log_with_serve(settings)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "control"))
        super().__init__(LazyAgent(partial(strict_agent, settings)))

    async def __del__(self) -> None:
        await self._lazy_agent.close()


class Supervisor:
    """Runs the supervisor's loops: rollouts, the queue, monitors of served models, policies, notices."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        _log_with_serve(settings)
        lazy_agent = LazyAgent(partial(strict_agent, settings))
        self._loops = SupervisorLoops(
            lazy_agent,
            settings.supervise_every_seconds,
            settings.max_processes,
            RolloutStates(),
            settings.enable_notifications,
            settings.monitor_every_seconds,
            ModelGauges(),
        )

    async def check_health(self) -> None:
        self._loops.check()

    async def __del__(self) -> None:
        await self._loops.close()


def application(settings: Settings) -> serve.Application:
    """The application that `optagent up` deploys."""
    control = _deployment(Control, max_ongoing_requests=_AT_ONCE).bind(settings)
    supervisor = _deployment(Supervisor).bind(settings)
    ingress = serve.ingress()(Gateway)
    gateway = _deployment(ingress, num_replicas=settings.gateway_replicas, max_ongoing_requests=_AT_ONCE)
    bound: serve.Application = gateway.bind(settings, control, supervisor)
    return bound


def build(args: Mapping[str, Any] | None = None) -> serve.Application:
    """The same for `serve deploy serve.yaml`; `args` are settings by name, else those of the cluster's environment."""
    return application(load_settings(**(args or {})))


def _deployment(kind: Any, **options: Any) -> Any:
    """A deployment named after its class. It waits most of the time and reserves no core: those are for trials."""
    return serve.deployment(
        kind,
        name=kind.__name__,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
        **options,
    )


def _log_with_serve(settings: Settings) -> None:
    """Sends the log of optagent where Serve's log goes, as JSON with the request's id, and without secrets of URLs."""
    logger = logging.getLogger("optagent")
    logger.handlers = hide_in(list(logging.getLogger("ray.serve").handlers))
    logger.setLevel(settings.log_level)
    logger.propagate = False
