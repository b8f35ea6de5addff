"""Redis routes: the routing tables, gateways and acknowledgements in Redis or Valkey.

Keys, below a prefix: `routes` and `routes:staged` (hashes, JSON by model), `routes:acknowledged:MODEL:REVISION` (hash:
why by gateway, empty for loaded; expires), `gateways` (hash, when each was last heard of), `gateways:until` (sorted set
of gateways by the time until which they are alive). Both times are of the server's clock. Each table that is written is
also published on the channel `routes:of-DATABASE`.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha1
from typing import Any

from optagent.adapters.state.process_lease import checked_seconds
from optagent.adapters.state.redis import route_scripts as scripts
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.adapters.state.redis.subscription import listen
from optagent.adapters.state.store_errors import checked_stageable, checked_staged, not_next_revision
from optagent.codec import encode
from optagent.domain.routing import RoutingTable
from optagent.errors import OptAgentError

_log = logging.getLogger(__name__)

_ACKNOWLEDGED_MS = 3_600_000


class RedisRoutes(RedisAdapter):
    """Routes on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop.

    Beats and acknowledgements do not wait for the disk, since gateways repeat them after a crash.
    """

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisConnection(url, prefix))
        self._active, self._staged = self._link.key("routes"), self._link.key("routes", "staged")
        self._gateways = (self._link.key("gateways"), self._link.key("gateways", "until"))
        self._channel = self._link.channel("routes")

    async def active_table(self, model_id: str) -> RoutingTable | None:
        return self._decode_table(model_id, await self._read(self._active, model_id))

    async def staged_table(self, model_id: str) -> RoutingTable | None:
        return self._decode_table(model_id, await self._read(self._staged, model_id))

    async def tables(self) -> list[RoutingTable]:
        tables: list[RoutingTable] = []
        for records in await self._link.ask(self._read_all):
            by_model = {name.decode(): data for name, data in records.items()}
            tables += self._link.decode_all(RoutingTable, by_model)
        return sorted(tables, key=lambda table: (table.model_id, table.revision))

    async def stage(self, table: RoutingTable) -> None:
        keys = (self._active, self._staged, self._acknowledgements_key(table.model_id, table.revision))
        values = (table.model_id, encode(checked_stageable(table)), table.revision, self._channel)
        answer = await self._link.run(scripts.STAGE, keys, *values)
        if answer != b"OK":
            raise not_next_revision(table, answer)

    async def activate(self, model_id: str, revision: int, at: float) -> RoutingTable:
        async def activate_staged() -> RoutingTable:
            while True:
                data = await self._read(self._staged, model_id)
                staged = checked_staged(model_id, revision, self._decode_table(model_id, data), at)
                table = replace(staged, activate_at=at)
                digest = sha1(data or b"", usedforsecurity=False).hexdigest()
                values = (model_id, encode(table), digest, self._channel)
                if await self._link.run(scripts.ACTIVATE, (self._active, self._staged), *values) == b"OK":
                    return table

        return await self._link.ask(activate_staged)

    async def unstage(self, model_id: str, revision: int) -> None:
        keys = (self._staged, self._acknowledgements_key(model_id, revision))
        await self._link.run(scripts.UNSTAGE, keys, model_id, revision, self._channel)

    async def gateways(self) -> Mapping[str, float]:
        beats = await self._link.run_at_once(scripts.ALIVE, self._gateways)
        return {name.decode(): float(last) for name, last in zip(beats[::2], beats[1::2], strict=True)}

    async def acknowledgements(self, model_id: str, revision: int) -> Mapping[str, str]:
        key = self._acknowledgements_key(model_id, revision)
        errors: dict[Any, Any] = await self._link.ask(lambda: self._link.redis.hgetall(key))
        return {name.decode(): error.decode() for name, error in errors.items()}

    async def beat(self, gateway: str, alive_s: float) -> None:
        values = (gateway, repr(checked_seconds("alive_s", alive_s)))
        await self._link.run_at_once(scripts.BEAT, self._gateways, *values)

    async def leave(self, gateway: str) -> None:
        await self._link.run_at_once(scripts.LEAVE, self._gateways, gateway)

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        keys = (self._acknowledgements_key(model_id, revision),)
        await self._link.run_at_once(scripts.ACKNOWLEDGE, keys, gateway, error, _ACKNOWLEDGED_MS)

    async def changes(self) -> AsyncIterator[RoutingTable | None]:
        async with aclosing(listen(self._link, self._channel)) as messages:
            async for message in messages:
                yield self._decode_message(message)

    async def _read(self, tables: str, model_id: str) -> Any:
        return await self._link.ask(lambda: self._link.redis.hget(tables, model_id))

    async def _read_all(self) -> list[dict[Any, Any]]:
        """Reads both hashes in one transaction, or a table that is activated in between could be missing in both."""
        async with self._link.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._active)
            pipe.hgetall(self._staged)
            return await pipe.execute()

    def _decode_table(self, model_id: str, data: bytes | None) -> RoutingTable | None:
        return None if data is None else self._link.decode_record(RoutingTable, data, model_id)

    def _decode_message(self, message: bytes | None) -> RoutingTable | None:
        try:
            return self._link.decode_record(RoutingTable, message, "told of") if message else None
        except OptAgentError as error:
            _log.error("%s", error)
            return None

    def _acknowledgements_key(self, model_id: str, revision: int) -> str:
        return self._link.key("routes", "acknowledged", model_id, str(revision))
