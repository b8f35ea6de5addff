"""Router of a gateway: versions are loaded first, routes swap at an instant, and stay while the store is away."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.arrays import Matrix
from optagent.domain.model import Task
from optagent.domain.routing import RoutingTable
from optagent.errors import CorruptBundle, Unavailable
from optagent.serving.engine import ServedModel
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.router import Router
from tests.fakes.routes import InMemoryRoutes

NOW = 1000.0
SCHEMA = Schema((FeatureColumn("a", Kind.NUMERIC),), "value", Task.REGRESSION)
ROLES: dict[str, Any] = {"warm": ("1", "2"), "rollout_id": "r1"}


class Zero:
    name = "zero"
    blocks = False

    def __init__(self, version: str, closed: list[str]) -> None:
        self._version, self._closed = version, closed

    def scores(self, x: Matrix) -> Any:
        return np.zeros(len(x))

    def close(self) -> None:
        self._closed.append(self._version)


class Loader:
    """Loads any version but those with an error, and waits while it is not free."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.loads: list[str] = []
        self.closed: list[str] = []
        self.digests: list[str] = []
        self.named: list[frozenset[str]] = []
        self.free = threading.Event()
        self.free.set()

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        self.loads.append(version)
        self.digests.append(digest)
        self.free.wait(10)
        if version in self.errors:
            raise self.errors[version]
        return ServedModel(SCHEMA, Zero(version, self.closed), version)

    def keep(self, digests: Collection[str]) -> None:
        self.named.append(frozenset(digests))

    def close(self) -> None:
        pass


class Routes(InMemoryRoutes):
    """Routes that can be away: then they still tell of changes, and answer nothing."""

    away = False

    async def tables(self) -> list[RoutingTable]:
        self._check()
        return await super().tables()

    async def beat(self, gateway: str, alive_s: float) -> None:
        self._check()
        await super().beat(gateway, alive_s)

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        self._check()
        await super().acknowledge(gateway, model_id, revision, error)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("Redis does not answer")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def routes(clock: ManualClock) -> Routes:
    return Routes(clock)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
async def router(routes: Routes, loader: Loader, clock: ManualClock) -> AsyncIterator[Router]:
    router = Router(routes, loader, clock, GatewayMetrics(), "g1", beat_s=0.01, retry_s=0.05, grace_s=0.05)
    router.start()
    yield router
    loader.free.set()
    await router.close()


def champion(router: Router, at: float = NOW) -> str | None:
    """The version that answers a request that arrives then, unless its key is assigned to another arm."""
    route = router.find_route("m", at)
    version = None if route is None else route.champion.version
    return None if version is None else version.model.version


async def answer_by(routes: Routes, at: float = NOW, **table: Any) -> None:
    active = await routes.active_table("m")
    revision = active.revision + 1 if active else 1
    await routes.stage(RoutingTable("m", revision, **table))
    await routes.activate("m", revision, at)


async def test_a_staged_table_is_loaded_and_acknowledged_and_does_not_answer_yet(
    router: Router, routes: Routes, loader: Loader
) -> None:
    await until(lambda: router.ready)
    await routes.stage(RoutingTable("m", 1, "1", shadow="2", state="shadow", **ROLES))
    await until_acknowledged(routes, 1, "")
    assert sorted(loader.loads) == ["1", "2"]
    assert champion(router) is None
    await routes.activate("m", 1, NOW)
    await until(lambda: champion(router) == "1")


async def test_from_its_instant_on_a_table_answers_whatever_arrives(router: Router, routes: Routes) -> None:
    await answer_by(routes, champion="1")
    await until(lambda: champion(router) == "1")
    await answer_by(routes, champion="2", at=NOW + 5)
    await until_loaded(router, "2")
    assert champion(router, NOW + 4.999) == "1"
    assert champion(router, NOW + 5.0) == "2"
    assert champion(router, NOW + 6.0) == "2"


async def test_of_two_tables_that_are_to_come_each_answers_in_its_time(router: Router, routes: Routes) -> None:
    await answer_by(routes, champion="1")
    await until(lambda: champion(router) == "1")
    await answer_by(routes, champion="2", at=NOW + 5)
    await until_loaded(router, "2")
    await answer_by(routes, champion="3", at=NOW + 7)
    await until_loaded(router, "3")
    assert [champion(router, NOW + wait) for wait in (0, 5, 6.9, 7)] == ["1", "2", "2", "3"]


async def test_the_old_table_answers_until_the_new_one_is_loaded(
    router: Router, routes: Routes, loader: Loader
) -> None:
    await answer_by(routes, champion="1")
    await until(lambda: champion(router) == "1")
    loader.free.clear()
    await answer_by(routes, champion="2")
    await asyncio.sleep(0.03)
    assert champion(router, NOW + 10) == "1"
    loader.free.set()
    await until(lambda: champion(router, NOW + 10) == "2")


async def test_loading_does_not_hold_up_the_event_loop(router: Router, routes: Routes, loader: Loader) -> None:
    loader.free.clear()
    await answer_by(routes, champion="1")
    await until(lambda: loader.loads == ["1"])
    started_at = time.perf_counter()
    await asyncio.sleep(0)
    assert time.perf_counter() - started_at < 0.1
    assert "being loaded" in str(router.refusal("m"))
    assert not router.ready


async def test_what_cannot_be_loaded_is_told_and_tried_again_when_it_is_staged_again(
    router: Router, routes: Routes, loader: Loader
) -> None:
    loader.errors["2"] = CorruptBundle("model.txt: altered")
    await routes.stage(RoutingTable("m", 1, "1", shadow="2", state="shadow", **ROLES))
    await until_acknowledged(routes, 1, "model.txt: altered")
    del loader.errors["2"]
    await routes.unstage("m", 1)
    await routes.stage(RoutingTable("m", 1, "1", shadow="2", state="shadow", **ROLES))
    await until_acknowledged(routes, 1, "")


async def test_a_champion_does_not_wait_for_others_to_load_and_they_join_when_they_have(
    router: Router, routes: Routes, loader: Loader
) -> None:
    loader.errors["2"] = Unavailable("MLflow does not answer")
    await answer_by(routes, champion="1", candidate="2", share=0.5, state="ramp", **ROLES)
    await until(lambda: champion(router) == "1")
    route = router.find_route("m", NOW)
    assert route is not None
    assert route.candidate is not None
    assert (route.candidate.version, route.candidate.backup) == (None, route.champion.version)
    del loader.errors["2"]
    await until(
        lambda: (route_now := router.find_route("m", NOW)) and route_now.candidate and route_now.candidate.version
    )


async def test_a_champion_that_does_not_load_is_a_reason_to_refuse_and_is_tried_again(
    router: Router, routes: Routes, loader: Loader
) -> None:
    loader.errors["1"] = Unavailable("MLflow does not answer")
    await answer_by(routes, champion="1")
    await until(lambda: router.ready and "MLflow" in str(router.refusal("m")))
    assert router.refusal("other") is None
    del loader.errors["1"]
    await until(lambda: champion(router) == "1")


async def test_a_gateway_that_starts_learns_what_is_active_and_what_is_staged(
    routes: Routes, loader: Loader, clock: ManualClock
) -> None:
    await answer_by(routes, champion="1")
    await routes.stage(RoutingTable("m", 2, "2"))
    router = Router(routes, loader, clock, GatewayMetrics(), "late", beat_s=0.01)
    assert not router.ready
    router.start()
    await until(lambda: router.ready and champion(router) == "1")
    await until_acknowledged(routes, 2, "", "late")
    await until_alive(routes, {"late"})
    await router.close()
    assert await routes.gateways() == {}


async def test_while_the_routes_are_away_what_is_loaded_answers_and_what_is_due_is_said_later(
    router: Router, routes: Routes
) -> None:
    await answer_by(routes, champion="1")
    await until(lambda: champion(router) == "1")
    routes.away = True
    await routes.stage(RoutingTable("m", 2, "2"))
    routes._tell(None)  # the connection was lost for a moment: something may have been missed
    await until_loaded(router, "2")
    assert champion(router) == "1"
    assert await routes.acknowledgements("m", 2) == {}
    routes.away = False
    await until_acknowledged(routes, 2, "")


async def test_a_model_without_a_table_is_answered_no_more(router: Router, routes: Routes) -> None:
    await answer_by(routes, champion="1")
    await until(lambda: champion(router) == "1")
    routes._active.clear()
    routes._tell(None)
    await until(lambda: champion(router) is None)
    assert router.refusal("m") is None


async def test_versions_that_no_table_names_are_let_go_a_little_later(
    router: Router, routes: Routes, loader: Loader
) -> None:
    await answer_by(routes, champion="1", warm=("1", "2"))
    await until(lambda: champion(router) == "1")
    await until_loaded(router, "2")
    await answer_by(routes, champion="3")
    await until(lambda: champion(router) == "3")
    assert not loader.closed
    await until(lambda: sorted(loader.closed) == ["1", "2"])
    assert champion(router) == "3"


async def test_a_version_is_loaded_by_the_digest_of_its_table_and_anew_when_that_changes(
    router: Router, routes: Routes, loader: Loader
) -> None:
    await answer_by(routes, champion="1", digests={"1": "d1"})
    await until(lambda: champion(router) == "1")
    await answer_by(routes, champion="1", digests={"1": "d2"})  # as after a registry was made anew
    await until(lambda: loader.digests == ["d1", "d2"])
    await until(lambda: loader.closed == ["1"])
    await until(lambda: loader.named[-1:] == [{"d2"}])


async def until(is_so: Callable[[], object]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)


async def until_loaded(router: Router, version: str) -> None:
    await until(lambda: ("m", version, "") in router._versions)


async def until_acknowledged(routes: Routes, revision: int, error: str, gateway: str = "g1") -> None:
    give_up = time.monotonic() + 5
    while (await routes.acknowledgements("m", revision)).get(gateway) != error:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)


async def until_alive(routes: Routes, gateways: set[str]) -> None:
    give_up = time.monotonic() + 5
    while set(await routes.gateways()) != gateways:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)
