"""Acknowledgements that a gateway is sending are its own to end: none is forgotten while another is sent."""

import asyncio

from optagent.adapters.in_memory.clock import ManualClock
from optagent.domain.routing import RoutingTable
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.router import Router
from tests.fakes.data_plane import NOW, SCHEMAS, HalfLoader
from tests.fakes.routes import InMemoryRoutes


class SilentRoutes(InMemoryRoutes):
    """Routes that never answer an acknowledgement."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.waiting: list[asyncio.Task[None]] = []

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        task = asyncio.current_task()
        assert task is not None
        self.waiting.append(task)
        await asyncio.Event().wait()


async def test_a_router_that_closes_ends_every_acknowledgement_that_it_is_sending() -> None:
    clock = ManualClock(NOW)
    routes = SilentRoutes(clock)
    router = Router(routes, HalfLoader(), clock, GatewayMetrics(), "g1", beat_s=60.0)
    router.start()
    for model_id in SCHEMAS:
        await routes.stage(RoutingTable(model_id, 1, champion="1"))
    async with asyncio.timeout(10):
        while len(routes.waiting) < 2:
            await asyncio.sleep(0.001)
    await router.close()
    assert [task.done() for task in routes.waiting] == [True] * len(routes.waiting)
