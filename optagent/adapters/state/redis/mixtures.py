"""Redis mixtures: the journals of models' mixtures in Redis or Valkey.

Keys, below a prefix: `mixtures` (hash, JSON by model) and `mixture_writers` (hash, by model a name for the call that
wrote it last).
"""

from typing import Any

from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.redis.journals import replace_journal
from optagent.adapters.state.store_errors import checked_mixture_successor
from optagent.domain.mixture import MixtureRecord

_KEYS = ("mixtures", "mixture_writers")


class RedisMixtures(RedisAdapter):
    """The part of a Store that keeps the journals of mixtures."""

    async def save_mixture(self, record: MixtureRecord, before: MixtureRecord | None) -> None:
        def check(data: Any) -> None:
            checked_mixture_successor(record, before, self._decode_mixture(record.model_id, data))

        await replace_journal(self._link, _KEYS, record, check)

    async def mixture(self, model_id: str) -> MixtureRecord | None:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key(_KEYS[0]), model_id))
        return self._decode_mixture(model_id, data)

    def _decode_mixture(self, model_id: str, data: Any) -> MixtureRecord | None:
        return None if data is None else self._link.decode_record(MixtureRecord, data, model_id)
