"""Redis intervals: the journals of models' intervals in Redis or Valkey.

Keys, below a prefix: `intervals` (hash, JSON by model) and `interval_writers` (hash, by model a name for the call that
wrote it last).
"""

from typing import Any

from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.redis.journals import replace_journal
from optagent.adapters.state.store_errors import checked_interval_successor
from optagent.domain.prediction_interval import IntervalRecord

_KEYS = ("intervals", "interval_writers")


class RedisIntervals(RedisAdapter):
    """The part of a Store that keeps the journals of intervals."""

    async def save_intervals(self, record: IntervalRecord, before: IntervalRecord | None) -> None:
        def check(data: Any) -> None:
            checked_interval_successor(record, before, self._decode_intervals(record.model_id, data))

        await replace_journal(self._link, _KEYS, record, check)

    async def intervals(self, model_id: str) -> IntervalRecord | None:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key(_KEYS[0]), model_id))
        return self._decode_intervals(model_id, data)

    def _decode_intervals(self, model_id: str, data: Any) -> IntervalRecord | None:
        return None if data is None else self._link.decode_record(IntervalRecord, data, model_id)
