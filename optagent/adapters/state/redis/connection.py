"""Redis connection: one deadline for each verb, steps that are repeated, and writes that reach the disk."""

import contextlib
import secrets
from asyncio import timeout
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha1
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, OutOfMemoryError, RedisError, ResponseError

from optagent.adapters.state.redis.address import LOOK_FOR_AOF, address_of, client_at
from optagent.adapters.state.redis.memory import LOOK_S, memory_error
from optagent.adapters.state.unreadable import UnreadableRecords
from optagent.codec import decode, encode
from optagent.errors import OptAgentError, Unavailable

Answer = TypeVar("Answer")
Entity = TypeVar("Entity")

_DEADLINE_S = 4.0  # of every verb, retries included: callers are promised an answer within 5 s
_CHECK_S = 2.5  # of the first look at a server, by a program that has to start as well
_DISK_WAIT_MS = 3000  # a server postpones its append-only file by up to 2 s while a slow disk syncs
_SOCKET_TIMEOUT_S = 3.5  # above the wait for the disk, or waiting would look like a dead server
_CONNECT_TIMEOUT_S = 1.5


class RedisConnection:
    """The server behind a `redis://`, `rediss://` or `unix://` URL, and the keys below a prefix.

    An asyncio client belongs to the event loop that first used it: use a link, and close it, from one loop only. A
    write is acknowledged when the server's append-only file has it, if the server has such a file (`WAITAOF`), which is
    asked once. Reconnects by itself; raises Unavailable, naming the address, after 4 s without success.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.redis = client_at(
            Redis.from_url,
            url,
            retry=Retry(NoBackoff(), 0),  # `ask` repeats whole steps instead of single commands
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
        )
        self.address = address_of(self.redis)
        self.unreadable = UnreadableRecords()
        self._prefix = prefix
        self._has_append_only_file: bool | None = None

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s."""
        await self.ask(self.redis.ping, _CHECK_S)

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self.redis.aclose()

    def key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def channel(self, name: str) -> str:
        """A channel of our own: the server's databases share their channels, unlike their keys."""
        database = self.redis.connection_pool.connection_kwargs.get("db", 0)
        return self.key(name, f"of-{database}")

    async def ask(self, step: Callable[[], Awaitable[Answer]], limit_s: float = _DEADLINE_S) -> Answer:
        """Takes a step, again and again while the connection fails; no step does harm if it is taken twice.

        A step may consist of several: the deadline then holds for all of them together.
        """
        last_error: list[Exception] = []

        async def remember_error(error: Exception) -> None:
            last_error[:] = [error]

        try:
            async with timeout(limit_s):
                return await Retry(ExponentialBackoff(cap=0.5, base=0.02), -1).call_with_retry(
                    step, remember_error, _is_transient
                )
        except TimeoutError:
            why = f": {last_error[0]}" if last_error else ""
            raise Unavailable(f"Redis at {self.address} does not answer (waited {limit_s:g} s){why}") from None
        except OutOfMemoryError:
            raise memory_error(self.address, await self._read_memory()) from None
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis at {self.address} refuses: {error}") from None

    async def _read_memory(self) -> dict[str, Any]:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with timeout(LOOK_S):
                return dict(await self.redis.info("memory"))
        return {}

    async def run(self, script: str, keys: tuple[str, ...], *values: Any) -> Any:
        """The answer of a Lua script, once what it wrote is on disk."""
        return await self.write("EVAL", script, len(keys), *keys, *values)

    async def run_at_once(self, script: str, keys: tuple[str, ...], *values: Any) -> Any:
        """The answer of a Lua script that writes nothing, or nothing that may not be lost in a crash."""
        return await self.ask(lambda: self.redis.eval(script, len(keys), *keys, *values))

    async def write(self, *command: Any) -> Any:
        """The answer of a command, once what it wrote is on disk."""
        return await self.ask(lambda: self._write_once(*command))

    async def replace(
        self, script: str, keys: tuple[str, ...], kind: type[Entity], name: str, change: Callable[[Entity], Entity],
        *values: Any,
    ) -> Entity | None:  # fmt: skip
        """Replaces the entity in the record of `keys[0]` by what `change` makes of it; None where there is no record.

        `script` begins with `scripts.REPLACE`. If another writer was faster, `change` is called again.
        """
        writer = secrets.token_hex(8)

        async def try_replace() -> Entity | None:
            while True:
                data: Any = await self.ask(lambda: self.redis.hget(keys[0], "data"))
                if data is None:
                    return None
                changed = change(self.decode_record(kind, data, name))
                digest = sha1(data, usedforsecurity=False).hexdigest()
                if await self.run(script, keys, encode(changed), digest, writer, *values) == b"OK":
                    return changed

        return await self.ask(try_replace)

    def decode_record(self, kind: type[Entity], data: bytes | str, name: str) -> Entity:
        try:
            return decode(kind, data)
        except Exception as error:  # of a rule that fails on what it is to check, too
            raise OptAgentError(
                f"{kind.__name__} {name!r} in Redis at {self.address} cannot be read, "
                f"was it written by another version of optagent? {error}"
            ) from None

    def decode_or_skip(self, kind: type[Entity], data: bytes | str, name: str) -> Entity | None:
        """The entity, None for one that cannot be decoded: readers of many records go on without it."""
        return self.unreadable.decode_or_skip(kind, name, lambda: self.decode_record(kind, data, name))

    def decode_all(self, kind: type[Entity], records: Mapping[str, bytes]) -> list[Entity]:
        """The readable ones of the entities by name, in their order."""
        return self.unreadable.decode_all(kind, records, lambda data, name: self.decode_record(kind, data, name))

    async def _write_once(self, *command: Any) -> Any:
        """The command's answer, once the append-only file has it.

        Both go over one connection, since WAITAOF covers the writes of its own connection, and one after the other: if
        they are sent together, Valkey blocks the client until its next 100 ms tick (measured: 100 to 200 ms against
        0.5 ms).
        """
        async with self.redis.client() as connection:
            if self._has_append_only_file is None:
                self._has_append_only_file = await _has_append_only_file(connection)
            answer = await connection.execute_command(*command)  # type: ignore[no-untyped-call]
            if self._has_append_only_file and (await connection.waitaof(1, 0, _DISK_WAIT_MS))[0] < 1:
                raise Unavailable(f"Redis at {self.address} did not get a write to disk within {_DISK_WAIT_MS} ms")
            return answer


class RedisAdapter:
    """The part that adapters on a `RedisConnection` share: its check and its end."""

    def __init__(self, link: RedisConnection) -> None:
        self._link = link

    async def check(self) -> None:
        """Raises Unavailable, by name and within 5 s, when the server does not answer."""
        await self._link.check()

    async def close(self) -> None:
        await self._link.close()


async def _has_append_only_file(connection: Redis) -> bool:
    try:
        await connection.execute_command(*LOOK_FOR_AOF)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def _is_transient(error: Exception) -> bool:
    """True where trying again may help; a refused password stays refused."""
    return not isinstance(error, AuthenticationError | AuthorizationError)
