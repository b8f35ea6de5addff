"""Reports, watch marks and alerts in Redis or Valkey.

Keys, below a prefix: `report:KEY` (hash: `digest`, `data` JSON; expires), `watched` (hash, JSON by model), `alerts`
(set of models), `alerts:MODEL` (hash, JSON by id), `alerts:MODEL:resolved` (sorted set of ids by time).
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from optagent.adapters.state.alert_order import forgotten_before, in_order
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.codec import encode
from optagent.domain.alert import Alert
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import WatchMark, Window

_REPORT_KEPT_MS = 30 * 86_400_000


class RedisReports(RedisAdapter):
    """The part of a Store that keeps what was found."""

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        keys, values = (self._link.key("report", key),), (digest, encode(report), _REPORT_KEPT_MS)
        await self._link.run(scripts.SAVE_REPORT, keys, *values)

    async def find_report(self, key: str, digest: str) -> ModelReport | None:
        kept = self._link.key("report", key)
        of, data = await self._link.ask(lambda: self._link.redis.hmget(kept, ["digest", "data"]))
        return self._link.decoded(ModelReport, data, key) if data is not None and of == digest.encode() else None

    async def save_watch_mark(self, model_id: str, mark: WatchMark) -> None:
        await self._link.write("HSET", self._link.key("watched"), model_id, encode(mark))

    async def watch_mark(self, model_id: str) -> WatchMark:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("watched"), model_id))
        if data is None:
            return await self._older_watch_mark(model_id)
        return self._link.decoded(WatchMark, data, model_id)

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        of_model = attrgetter("model_id")
        groups = [list(group) for _, group in groupby(sorted(alerts, key=of_model), key=of_model)]

        async def saved() -> None:
            for group in groups:
                await self._save_of_one_model(group)

        await self._link.ask(saved)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        kept = await self._link.ask(lambda: self._kept_alerts(model_id))
        return in_order((self._link.decoded(Alert, data, name.decode()) for name, data in kept.items()), limit)

    async def _older_watch_mark(self, model_id: str) -> WatchMark:
        """The mark as older versions wrote it: as the digests of two empty reports, which name the windows."""
        keys = [self._link.key("report", f"watched:{model_id}:{name}") for name in ("due", "seen")]
        due, seen = [await self._link.ask(partial(self._link.redis.hget, key, "digest")) for key in keys]
        return WatchMark(_windows_in(due), _windows_in(seen))

    async def _save_of_one_model(self, alerts: list[Alert]) -> None:
        model_id = alerts[0].model_id
        values = [
            value
            for alert in alerts
            for value in (alert.alert_id, encode(alert), "" if alert.is_open else repr(alert.resolved_at))
        ]
        key = self._link.key
        keys = (key("alerts"), key("alerts", model_id), key("alerts", model_id, "resolved"))
        await self._link.run(scripts.SAVE_ALERTS, keys, model_id, repr(forgotten_before(alerts)), *values)

    async def _kept_alerts(self, model_id: str | None) -> dict[Any, Any]:
        models = [model_id or ""]
        if model_id is None:
            known: set[Any] = await self._link.redis.smembers(self._link.key("alerts"))
            models = [name.decode() for name in known]
        async with self._link.redis.pipeline(transaction=False) as pipe:
            for name in models:
                pipe.hgetall(self._link.key("alerts", name))
            return {name: data for kept in await pipe.execute() for name, data in kept.items()}


def _windows_in(text: Any) -> tuple[Window, ...]:
    """Windows that were written as `START..END START..END`."""
    bounds = [window.split("..") for window in (text or b"").decode().split()]
    return tuple(Window(float(start), float(end)) for start, end in bounds)
