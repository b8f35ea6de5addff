"""Every adapter of a port, behind one fixture."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.state.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis_store import RedisStore
from optagent.ports import Store


@dataclass
class StoreUnderTest:
    """A fresh, empty store, and how to let time pass for it."""

    store: Store
    pass_time: Callable[[float], Awaitable[None]]


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(params=["in_memory", "redis"])
async def under_test(request: pytest.FixtureRequest) -> AsyncIterator[StoreUnderTest]:
    if request.param == "in_memory":
        clock = ManualClock(1000.0)

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        yield StoreUnderTest(InMemoryStore(clock), advance)
        return
    server: EmbeddedRedis = request.getfixturevalue("embedded_redis")
    store = RedisStore(server.url, prefix=f"test-{secrets.token_hex(4)}")
    yield StoreUnderTest(store, asyncio.sleep)
    await store.close()


@pytest.fixture
def store(under_test: StoreUnderTest) -> Store:
    return under_test.store
