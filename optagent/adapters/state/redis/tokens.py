"""Bearer tokens in Redis or Valkey.

Keys, below a prefix: `token:ID` (a record), `tokens` (sorted set of ids by the time of their creation).
"""

import secrets
from dataclasses import replace
from typing import Any

from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.adapters.state.store_errors import no_token, token_exists
from optagent.codec import encode
from optagent.domain.token import Token


class RedisTokens(RedisAdapter):
    """Tokens on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop."""

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisConnection(url, prefix))

    async def create(self, token: Token) -> None:
        keys = (self._key(token.token_id), self._link.key("tokens"))
        values = (encode(token), repr(token.created_at), secrets.token_hex(8), token.token_id)
        if await self._link.run(scripts.CREATE_TOKEN, keys, *values) == b"TAKEN":
            raise token_exists(token.token_id)

    async def find(self, token_id: str) -> Token | None:
        data = await self._link.ask(lambda: self._link.redis.hget(self._key(token_id), "data"))
        return None if data is None else self._link.decode_record(Token, data, token_id)

    async def tokens(self) -> list[Token]:
        records = await self._link.ask(self._read_newest)
        return self._link.decode_all(Token, {name: data for name, data in records.items() if data is not None})

    async def revoke(self, token_id: str, at: float) -> Token:
        def mark_revoked(token: Token) -> Token:
            return token if token.revoked_at is not None else replace(token, revoked_at=at)

        keys = (self._key(token_id),)
        token = await self._link.replace(scripts.REPLACE, keys, Token, token_id, mark_revoked)
        if token is None:
            raise no_token(token_id)
        return token

    async def _read_newest(self) -> dict[str, Any]:
        ids: list[Any] = await self._link.redis.zrevrange(self._link.key("tokens"), 0, -1)
        names = [item.decode() for item in ids]
        async with self._link.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(self._key(name), "data")
            return dict(zip(names, await pipe.execute(), strict=True))

    def _key(self, token_id: str) -> str:
        return self._link.key("token", token_id)
