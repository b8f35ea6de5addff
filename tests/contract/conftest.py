"""Every adapter of a port, behind one fixture."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.histories import InMemoryHistories
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.histories import RedisHistories
from optagent.adapters.state.redis.idempotency import RedisIdempotencyStore
from optagent.adapters.state.redis.routes import RedisRoutes
from optagent.adapters.state.redis.sessions import RedisSessions
from optagent.adapters.state.redis.store import RedisStore
from optagent.adapters.state.redis.tokens import RedisTokens
from optagent.ports import Histories, IdempotencyStore, Routes, Sessions, Store, Tokens
from tests.fakes.idempotency import InMemoryKeptAnswers
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.sessions import InMemorySessions
from tests.fakes.tokens import InMemoryTokens

Port = TypeVar("Port")


@dataclass
class UnderTest(Generic[Port]):
    """A fresh, empty adapter, and a function that lets time pass for it."""

    port: Port
    pass_time: Callable[[float], Awaitable[None]]


Make = Callable[[Callable[[ManualClock], Any], Callable[..., Any]], AbstractAsyncContextManager[UnderTest[Any]]]


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(params=["in_memory", "redis"])
def either(request: pytest.FixtureRequest) -> Make:
    """Makes one of the two adapters of a port that keeps state."""

    @asynccontextmanager
    async def make(
        in_memory: Callable[[ManualClock], Any], on_redis: Callable[..., Any]
    ) -> AsyncIterator[UnderTest[Any]]:
        if request.param == "in_memory":
            clock = ManualClock(1000.0)

            async def advance(seconds: float) -> None:
                clock.advance(seconds)

            yield UnderTest(in_memory(clock), advance)
            return
        server: EmbeddedRedis = request.getfixturevalue("embedded_redis")
        adapter = on_redis(server.url, prefix=f"test-{secrets.token_hex(4)}")
        yield UnderTest(adapter, asyncio.sleep)
        await adapter.close()

    return make


@pytest.fixture
async def under_test(either: Make) -> AsyncIterator[UnderTest[Store]]:
    async with either(InMemoryStore, RedisStore) as made:
        yield made


@pytest.fixture
def store(under_test: UnderTest[Store]) -> Store:
    return under_test.port


@pytest.fixture
async def histories(either: Make) -> AsyncIterator[Histories]:
    async with either(
        lambda clock: InMemoryHistories(most_rows=200),
        lambda url, prefix: RedisHistories(url, prefix, most_rows=200, read_s=5.0),
    ) as made:
        yield made.port


@pytest.fixture
async def routes_under_test(either: Make) -> AsyncIterator[UnderTest[Routes]]:
    async with either(InMemoryRoutes, RedisRoutes) as made:
        yield made


@pytest.fixture
def routes(routes_under_test: UnderTest[Routes]) -> Routes:
    return routes_under_test.port


@pytest.fixture
async def tokens(either: Make) -> AsyncIterator[Tokens]:
    async with either(lambda _: InMemoryTokens(), RedisTokens) as made:
        yield made.port


@pytest.fixture
async def sessions_under_test(either: Make) -> AsyncIterator[UnderTest[Sessions]]:
    async with either(InMemorySessions, RedisSessions) as made:
        yield made


@pytest.fixture
def sessions(sessions_under_test: UnderTest[Sessions]) -> Sessions:
    return sessions_under_test.port


@pytest.fixture
async def answers_under_test(either: Make) -> AsyncIterator[UnderTest[IdempotencyStore]]:
    async with either(InMemoryKeptAnswers, RedisIdempotencyStore) as made:
        yield made


@pytest.fixture
def answers(answers_under_test: UnderTest[IdempotencyStore]) -> IdempotencyStore:
    return answers_under_test.port
