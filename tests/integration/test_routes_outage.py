"""Gateways keep serving while the Redis server dies, hangs or is not there."""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.idempotency import RedisIdempotencyStore
from optagent.adapters.state.redis.routes import RedisRoutes
from optagent.adapters.state.redis.tokens import RedisTokens
from optagent.domain.idempotency import KeyClaim, KeyRules
from optagent.domain.routing import RoutingTable
from optagent.domain.token import Scope, Token, digest_of
from optagent.errors import Unavailable

TABLE = RoutingTable("churn", 1, champion="3")
TOKEN = Token("0123456789ab", "ci", digest_of("secret"), (Scope.READ,), 100.0)
RULES = KeyRules(60, 3600, 100)
CLAIM = KeyClaim("ci", "k", "d", "act", "hold")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as running:
        yield running


@asynccontextmanager
async def adapters(url: str) -> AsyncIterator[tuple[RedisRoutes, RedisTokens, RedisIdempotencyStore]]:
    made = RedisRoutes(url), RedisTokens(url), RedisIdempotencyStore(url)
    yield made
    for adapter in made:
        await adapter.close()


async def soon(changes: AsyncIterator[RoutingTable | None]) -> RoutingTable | None:
    async with asyncio.timeout(10):
        return await anext(changes)


async def a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(3):
        while not caplog.messages:
            await asyncio.sleep(0.02)


def every_verb(routes: RedisRoutes, tokens: RedisTokens, answers: RedisIdempotencyStore) -> list[Awaitable[object]]:
    return [
        routes.check(),
        routes.active_table("churn"),
        routes.staged_table("churn"),
        routes.tables(),
        routes.stage(TABLE),
        routes.activate("churn", 1, 100.0),
        routes.unstage("churn", 1),
        routes.gateways(),
        routes.acknowledgements("churn", 1),
        routes.beat("g1", 5),
        routes.leave("g1"),
        routes.acknowledge("g1", "churn", 1),
        tokens.check(),
        tokens.create(TOKEN),
        tokens.find("0123456789ab"),
        tokens.tokens(),
        tokens.revoke("0123456789ab", 200.0),
        answers.check(),
        answers.claim("ci", "k", "d", RULES),
        answers.renew(CLAIM, RULES),
        answers.keep(CLAIM, b"a", RULES),
        answers.suspend(CLAIM),
        answers.release(CLAIM),
    ]


async def assert_unavailable_within_5_s(url: str, address: str) -> None:
    async with adapters(url) as made:
        started = time.monotonic()
        answers = await asyncio.gather(*every_verb(*made), return_exceptions=True)
        assert time.monotonic() - started < 5
        for answer in answers:
            assert isinstance(answer, Unavailable)
            assert address in str(answer)


async def test_every_verb_names_a_server_that_is_not_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await assert_unavailable_within_5_s(f"redis://127.0.0.1:{port}/0", f"127.0.0.1:{port}")


async def test_every_verb_names_a_server_that_hangs(server):
    os.kill(server.endpoint.pid, signal.SIGSTOP)
    try:
        await assert_unavailable_within_5_s(server.url, f"127.0.0.1:{server.endpoint.port}")
    finally:
        os.kill(server.endpoint.pid, signal.SIGCONT)


async def test_a_listener_of_a_server_that_was_killed_is_told_to_look_and_sees_what_it_missed(server):
    async with adapters(server.url) as (routes, *_), adapters(server.url) as (gateway, *_):
        await routes.stage(TABLE)
        async with aclosing(gateway.changes()) as changes:
            assert await soon(changes) is None
            active = await routes.activate("churn", 1, 100.0)
            assert await soon(changes) == active
            os.kill(server.endpoint.pid, signal.SIGKILL)
            following = replace(TABLE, revision=2, champion="4")
            await routes.stage(following)  # waits for the server to come back
            while (told := await soon(changes)) is not None:
                assert told == following
            assert await gateway.tables() == [active, following]
            active = await routes.activate("churn", 2, 200.0)
            while (told := await soon(changes)) != active:
                assert told == following


async def test_a_listener_of_a_server_that_hangs_notices_within_2_s_and_is_told_when_it_goes_on(server, caplog):
    async with adapters(server.url) as (gateway, *_), aclosing(gateway.changes()) as changes:
        assert await soon(changes) is None
        listening = asyncio.create_task(soon(changes))
        os.kill(server.endpoint.pid, signal.SIGSTOP)
        try:
            await a_warning(caplog)
            assert f"127.0.0.1:{server.endpoint.port}" in caplog.messages[0]
            assert server.endpoint.password not in caplog.text
        finally:
            os.kill(server.endpoint.pid, signal.SIGCONT)
        assert await listening is None
        await gateway.stage(TABLE)
        assert await soon(changes) == TABLE


async def test_a_listener_that_begins_while_the_server_hangs_hears_nothing_until_it_goes_on(server):
    async with adapters(server.url) as (gateway, *_), aclosing(gateway.changes()) as changes:
        os.kill(server.endpoint.pid, signal.SIGSTOP)
        try:
            listening = asyncio.create_task(soon(changes))
            await asyncio.sleep(0.2)
            assert not listening.done()
        finally:
            os.kill(server.endpoint.pid, signal.SIGCONT)
        assert await listening is None


async def test_a_message_that_nobody_can_read_says_to_look(server):
    prefix = secrets.token_hex(4)
    routes, admin = RedisRoutes(server.url, prefix), Redis.from_url(server.url)
    async with aclosing(routes.changes()) as changes:
        assert await soon(changes) is None
        assert await admin.publish(f"{prefix}:routes:of-0", b"\xff not json") == 1
        assert await soon(changes) is None
    await routes.close()
    await admin.aclose()
