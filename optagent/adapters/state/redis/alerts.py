"""Redis alerts: the alerts of models in Redis or Valkey.

Keys, below a prefix: `alerts` (set of models), `alerts:MODEL` (hash, JSON by id), `alerts:MODEL:resolved` (sorted set
of ids by time).
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from optagent.adapters.state.alert_order import retention_cutoff, sort_alerts
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.codec import encode
from optagent.domain.alert import Alert


class RedisAlerts(RedisAdapter):
    """The part of a Store that keeps alerts."""

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        model_id = attrgetter("model_id")
        groups = [list(group) for _, group in groupby(sorted(alerts, key=model_id), key=model_id)]

        async def save_groups() -> None:
            for group in groups:
                await self._save_of_one_model(group)

        await self._link.ask(save_groups)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        records = await self._link.ask(lambda: self._read_alerts(model_id))
        return sort_alerts(self._link.decode_all(Alert, records), limit)

    async def _save_of_one_model(self, alerts: list[Alert]) -> None:
        model_id = alerts[0].model_id
        values = [
            value
            for alert in alerts
            for value in (alert.alert_id, encode(alert), "" if alert.is_open else repr(alert.resolved_at))
        ]
        key = self._link.key
        keys = (key("alerts"), key("alerts", model_id), key("alerts", model_id, "resolved"))
        await self._link.run(scripts.SAVE_ALERTS, keys, model_id, repr(retention_cutoff(alerts)), *values)

    async def _read_alerts(self, model_id: str | None) -> dict[str, Any]:
        models = [model_id or ""]
        if model_id is None:
            names: set[Any] = await self._link.redis.smembers(self._link.key("alerts"))
            models = [name.decode() for name in names]
        async with self._link.redis.pipeline(transaction=False) as pipe:
            for name in models:
                pipe.hgetall(self._link.key("alerts", name))
            answers = await pipe.execute()
        return {alert_id.decode(): data for records in answers for alert_id, data in records.items()}
