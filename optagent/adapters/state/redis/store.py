"""Redis store: the `Store` port on Redis or Valkey, with models here and every other record in a part of its own.

Keys, below a prefix: `models` (hash, JSON by id), and those of the parts.
"""

from typing import Any

from optagent.adapters.state.audit.files import AuditFiles
from optagent.adapters.state.audit_bounds import MAX_LINKS
from optagent.adapters.state.redis.alerts import RedisAlerts
from optagent.adapters.state.redis.audit import RedisAudit
from optagent.adapters.state.redis.connection import RedisConnection
from optagent.adapters.state.redis.ledger import RedisLedger
from optagent.adapters.state.redis.once import RedisOnce
from optagent.adapters.state.redis.reports import RedisReports
from optagent.adapters.state.redis.retention import RedisRetention
from optagent.codec import encode
from optagent.domain.model import ModelSpec
from optagent.errors import ModelNotFound


class RedisStore(RedisRetention, RedisReports, RedisAlerts, RedisLedger, RedisAudit, RedisOnce):
    """A Store on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop."""

    def __init__(
        self, url: str, prefix: str = "optagent", audit_kept: int = MAX_LINKS, audit_files: AuditFiles | None = None
    ) -> None:
        super().__init__(RedisConnection(url, prefix), audit_kept, audit_files)

    async def save_model(self, spec: ModelSpec) -> None:
        await self._link.write("HSET", self._link.key("models"), spec.model_id, encode(spec))

    async def model(self, model_id: str) -> ModelSpec:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("models"), model_id))
        if data is None:
            raise ModelNotFound(f"no model {model_id!r}")
        return self._link.decode_record(ModelSpec, data, model_id)

    async def models(self) -> list[ModelSpec]:
        records: dict[Any, Any] = await self._link.ask(lambda: self._link.redis.hgetall(self._link.key("models")))
        return [self._link.decode_record(ModelSpec, data, name.decode()) for name, data in sorted(records.items())]
