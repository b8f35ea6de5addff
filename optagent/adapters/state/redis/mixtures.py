"""Redis mixtures: the journals of models' mixtures in Redis or Valkey, each replaced only as its writer has read it.

Keys, below a prefix: `mixtures` (hash, JSON by model) and `mixture_writers` (hash, by model a name for the call that
wrote it last).
"""

import secrets
from hashlib import sha1
from typing import Any

from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import checked_mixture_successor
from optagent.codec import encode
from optagent.domain.mixture import MixtureRecord


class RedisMixtures(RedisAdapter):
    """The part of a Store that keeps the journals of mixtures."""

    async def save_mixture(self, record: MixtureRecord, before: MixtureRecord | None) -> None:
        keys = self._link.key("mixtures"), self._link.key("mixture_writers")
        values = (record.model_id, encode(record), secrets.token_hex(8))

        async def try_save() -> None:
            answer = b"CHANGED"
            while answer in (b"CHANGED", b"TAKEN"):
                data = await self._read_mixture(record.model_id)
                checked_mixture_successor(record, before, self._decode_mixture(record.model_id, data))
                if data is None:
                    answer = await self._link.run(scripts.CREATE_MODEL, keys, *values)
                else:
                    digest = sha1(data, usedforsecurity=False).hexdigest()
                    answer = await self._link.run(scripts.SAVE_MODEL, keys, *values, digest)

        await self._link.ask(try_save)

    async def mixture(self, model_id: str) -> MixtureRecord | None:
        return self._decode_mixture(model_id, await self._read_mixture(model_id))

    async def _read_mixture(self, model_id: str) -> Any:
        return await self._link.ask(lambda: self._link.redis.hget(self._link.key("mixtures"), model_id))

    def _decode_mixture(self, model_id: str, data: Any) -> MixtureRecord | None:
        return None if data is None else self._link.decode_record(MixtureRecord, data, model_id)
