"""Gateway process: the API and the data plane in one ASGI application, over one set of ports."""

import asyncio
import logging
import time
from typing import Any, cast

from optagent.agent import OptimizationAgent
from optagent.bootstrap import GatewayPorts, create_gateway_ports
from optagent.loop.refusal_log import RefusalLog
from optagent.settings import Settings
from serve_app.api import create_api
from serve_app.api.auth import Authenticator
from serve_app.asgi import Application
from serve_app.data_plane.gateway import Backlogs, DataPlane
from serve_app.ray_metrics import export_forever
from serve_app.remote_agent import RemoteAgent

_log = logging.getLogger("optagent.gateway")

_READY_S = 60.0
_SETTLING_S = 30.0
_POLL_S = 0.05


class GatewayProcess:
    """The application of one gateway process, with the data plane and the tasks that start and close with it."""

    def __init__(self, ports: GatewayPorts, control: Any, gateway_id: str) -> None:
        self._ports = ports
        limits, agent = ports.limits, cast(OptimizationAgent, RemoteAgent(control))
        self._refusals = RefusalLog(agent.record_audit)
        authenticator = Authenticator(
            ports.tokens,
            ports.clock,
            limits.requests_per_minute,
            limits.predictions_per_minute,
            on_refused=self._refusals,
        )
        self._data_plane = DataPlane(
            ports.routes,
            ports.loader,
            ports.observations,
            authenticator,
            ports.clock,
            ports.store.model,
            gateway_id,
            Backlogs(limits.shadow_backlog, limits.record_backlog),
            _SETTLING_S,
            ports.histories,
        )
        api = create_api(
            agent,
            authenticator,
            ports.kept_answers,
            ports.clock,
            self._data_plane,
            limits.max_body_bytes,
            source_rules=ports.source_rules,
            sessions=ports.sessions,
        )
        self._idempotency = api.state.context.idempotency
        self.application = Application(api, self._data_plane, tells_id=False)
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once the routed versions are loaded, so that no request is too early, or after a minute."""
        self._exporting = asyncio.create_task(export_forever(self._data_plane.metrics))
        await self._data_plane.start()
        give_up = time.monotonic() + _READY_S
        while not self._data_plane.ready:
            if time.monotonic() > give_up:
                _log.warning("the gateway starts with nothing loaded: its tables are not known")
                return
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        await self._data_plane.close()
        await self._refusals.close()
        await self._idempotency.close()
        await self._ports.close()


async def create_gateway(settings: Settings, control: Any, gateway_id: str) -> GatewayProcess:
    """A started gateway; `control` is the Serve handle of Control."""
    gateway = GatewayProcess(await create_gateway_ports(settings), control, gateway_id)
    await gateway.start()
    return gateway
