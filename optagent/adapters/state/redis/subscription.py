"""Channel subscription: the messages of a Redis or Valkey channel, without end, across outages of the server."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from optagent.adapters.state.redis.connection import RedisConnection
from optagent.retry import GrowingPauses

_log = logging.getLogger(__name__)

_SILENCE_S = 1.0  # then the server is pinged
_ANSWER_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


async def listen(link: RedisConnection, channel: str) -> AsyncGenerator[bytes | None, None]:
    """Yields each message, and None whenever listening has begun (anew), before which messages may have been missed.

    It never ends and never raises. It notices within 2 s that a server does not answer.
    """
    pauses, is_away = GrowingPauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), False
    while True:
        try:
            async with _subscribe(link, channel) as connection:
                pauses.restart()
                is_away = False
                yield None
                while True:
                    answer = await _read_answer(connection)
                    if _message_type(answer) == b"message":
                        yield answer[2]
        except (RedisError, OSError) as error:
            if not is_away:
                _log.warning("Redis at %s is away, listening goes on when it is back: %s", link.address, error)
            is_away = True
        await asyncio.sleep(next(pauses))


@asynccontextmanager
async def _subscribe(link: RedisConnection, channel: str) -> AsyncIterator[AbstractConnection]:
    """A connection of its own, as the client's PubSub reconnects silently and hides that messages were missed."""
    connection = link.redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()
        await connection.send_command("SUBSCRIBE", channel, check_health=False)
        while _message_type(await _read_answer(connection)) != b"subscribe":
            pass
        yield connection
    finally:
        await connection.disconnect(nowait=True)


async def _read_answer(connection: AbstractConnection) -> Any:
    answer = await connection.read_response(timeout=_SILENCE_S, push_request=True)
    if answer is None:
        await connection.send_command("PING", check_health=False)
        answer = await connection.read_response(timeout=_ANSWER_S, push_request=True)
    if answer is None:
        raise RedisTimeoutError(f"no answer for {_SILENCE_S + _ANSWER_S:g} s")
    return answer


def _message_type(answer: Any) -> Any:
    return answer[0] if isinstance(answer, list) else None
