"""Redis reports: the reports of analyses in Redis or Valkey, and for each model its watch mark, labels and detector.

Keys, below a prefix: `report:KEY` (hash: `digest`, `data` JSON; expires), `watched`, `label_history` and `detectors`
(hashes, JSON by model).
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.codec import encode
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import WatchMark, Window

_RETENTION_MS = 30 * 86_400_000


class RedisReports(RedisAdapter):
    """The part of a Store that keeps reports, watch marks, histories of labels and detectors."""

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        keys, values = (self._link.key("report", key),), (digest, encode(report), _RETENTION_MS)
        await self._link.run(scripts.SAVE_REPORT, keys, *values)

    async def find_report(self, key: str, digest: str) -> ModelReport | None:
        record = self._link.key("report", key)
        stored_digest, data = await self._link.ask(lambda: self._link.redis.hmget(record, ["digest", "data"]))
        if data is None or stored_digest != digest.encode():
            return None
        return self._link.decode_record(ModelReport, data, key)

    async def save_watch_mark(self, model_id: str, mark: WatchMark) -> None:
        await self._link.write("HSET", self._link.key("watched"), model_id, encode(mark))

    async def watch_mark(self, model_id: str) -> WatchMark:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("watched"), model_id))
        if data is None:
            return await self._older_watch_mark(model_id)
        return self._link.decode_record(WatchMark, data, model_id)

    async def save_label_history(self, model_id: str, history: LabelHistory) -> None:
        await self._link.write("HSET", self._link.key("label_history"), model_id, encode(history))

    async def label_history(self, model_id: str) -> LabelHistory:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("label_history"), model_id))
        return LabelHistory() if data is None else self._link.decode_record(LabelHistory, data, model_id)

    async def save_detector(self, model_id: str, state: Mapping[str, Any]) -> None:
        await self._link.write("HSET", self._link.key("detectors"), model_id, json.dumps(state, allow_nan=False))

    async def detector(self, model_id: str) -> Mapping[str, Any] | None:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("detectors"), model_id))
        return None if data is None else self._link.decode_record(dict, data, model_id)

    async def _older_watch_mark(self, model_id: str) -> WatchMark:
        """The mark as older versions wrote it: as the digests of two empty reports, which name the windows."""
        keys = [self._link.key("report", f"watched:{model_id}:{name}") for name in ("due", "seen")]
        due, analyzed = [await self._link.ask(partial(self._link.redis.hget, key, "digest")) for key in keys]
        return WatchMark(_parse_windows(due), _parse_windows(analyzed))


def _parse_windows(text: Any) -> tuple[Window, ...]:
    """Windows that were written as `START..END START..END`."""
    bounds = [window.split("..") for window in (text or b"").decode().split()]
    return tuple(Window(float(start), float(end)) for start, end in bounds)
