"""The Store on Redis or Valkey: models and the audit log, and the parts that keep processes, rollouts and findings.

Keys, below a prefix: `models` (hash, JSON by id), `audit` (list of JSON, the newest first), `audit:call:ID` (a call
that was taken in; expires), and those of the parts.
"""

import secrets
from typing import Any

from optagent.adapters.state import redis_scripts
from optagent.adapters.state.lease import checked_limit
from optagent.adapters.state.redis_findings import RedisFindings
from optagent.adapters.state.redis_first_times import RedisFirstTimes
from optagent.adapters.state.redis_link import RedisLink
from optagent.adapters.state.redis_processes import RedisProcesses
from optagent.adapters.state.redis_rollouts import RedisRollouts
from optagent.codec import encode
from optagent.domain.audit import AuditEntry
from optagent.domain.model import ModelSpec
from optagent.errors import ModelNotFound

_CALL_MS = 30_000  # longer than any call is repeated
_AUDIT_ENTRIES = 100_000


class RedisStore(RedisProcesses, RedisRollouts, RedisFindings, RedisFirstTimes):
    """A Store on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop."""

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisLink(url, prefix))

    async def save_model(self, spec: ModelSpec) -> None:
        await self._link.write("HSET", self._link.key("models"), spec.model_id, encode(spec))

    async def model(self, model_id: str) -> ModelSpec:
        data = await self._link.ask(lambda: self._link.redis.hget(self._link.key("models"), model_id))
        if data is None:
            raise ModelNotFound(f"no model {model_id!r}")
        return self._link.decoded(ModelSpec, data, model_id)

    async def models(self) -> list[ModelSpec]:
        kept: dict[Any, Any] = await self._link.ask(lambda: self._link.redis.hgetall(self._link.key("models")))
        return [self._link.decoded(ModelSpec, data, name.decode()) for name, data in sorted(kept.items())]

    async def append_audit(self, entry: AuditEntry) -> None:
        keys = (self._link.key("audit"), self._link.key("audit", "call", secrets.token_hex(8)))
        await self._link.run(redis_scripts.APPEND, keys, encode(entry), _AUDIT_ENTRIES, _CALL_MS)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        log, last = self._link.key("audit"), checked_limit(limit) - 1
        kept: list[Any] = await self._link.ask(lambda: self._link.redis.lrange(log, 0, last))
        return [self._link.decoded(AuditEntry, data, str(place)) for place, data in enumerate(kept)]
