"""Redis store: the `Store` port on Redis or Valkey, with models here and every other record in a part of its own.

Keys, below a prefix: `models` (hash, JSON by id), `model_writers` (hash, by id a name for the call that wrote it last),
and those of the parts.
"""

import secrets
from hashlib import sha1
from typing import Any

from optagent.adapters.state.audit.files import AuditFiles
from optagent.adapters.state.audit_bounds import MAX_LINKS
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.alerts import RedisAlerts
from optagent.adapters.state.redis.audit import RedisAudit
from optagent.adapters.state.redis.connection import RedisConnection
from optagent.adapters.state.redis.intervals import RedisIntervals
from optagent.adapters.state.redis.ledger import RedisLedger
from optagent.adapters.state.redis.mixtures import RedisMixtures
from optagent.adapters.state.redis.once import RedisOnce
from optagent.adapters.state.redis.quality import RedisQuality
from optagent.adapters.state.redis.reports import RedisReports
from optagent.adapters.state.redis.retention import RedisRetention
from optagent.adapters.state.store_errors import checked_model_successor, model_exists, no_model
from optagent.codec import encode
from optagent.domain.model import ModelSpec
from optagent.domain.vital_signs import StoreMemory


class RedisStore(
    RedisRetention,
    RedisReports,
    RedisQuality,
    RedisAlerts,
    RedisLedger,
    RedisMixtures,
    RedisIntervals,
    RedisAudit,
    RedisOnce,
):
    """A Store on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop."""

    def __init__(
        self, url: str, prefix: str = "optagent", audit_kept: int = MAX_LINKS, audit_files: AuditFiles | None = None
    ) -> None:
        super().__init__(RedisConnection(url, prefix), audit_kept, audit_files)

    async def memory(self) -> StoreMemory:
        memory: dict[str, Any] = await self._link.ask(lambda: self._link.redis.info("memory"))
        return StoreMemory(int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0)))

    def unreadable_records(self) -> list[str]:
        return self._link.unreadable.sentences()

    async def save_model(self, spec: ModelSpec) -> None:
        await self._link.run(scripts.SAVE_MODEL, self._model_keys(), *_values(spec), "")

    async def create_model(self, spec: ModelSpec) -> None:
        if await self._link.run(scripts.CREATE_MODEL, self._model_keys(), *_values(spec)) == b"TAKEN":
            raise model_exists(spec.model_id)

    async def replace_model(self, spec: ModelSpec, before: ModelSpec) -> None:
        values = _values(spec)

        async def try_replace() -> None:
            answer = b"CHANGED"
            while answer == b"CHANGED":
                data = await self._read_model(spec.model_id)
                stored = self._link.decode_record(ModelSpec, data, spec.model_id)
                checked_model_successor(spec, before, stored)
                digest = sha1(data, usedforsecurity=False).hexdigest()
                answer = await self._link.run(scripts.SAVE_MODEL, self._model_keys(), *values, digest)
            if answer == b"MISSING":
                raise no_model(spec.model_id)

        await self._link.ask(try_replace)

    async def model(self, model_id: str) -> ModelSpec:
        return self._link.decode_record(ModelSpec, await self._read_model(model_id), model_id)

    async def models(self) -> list[ModelSpec]:
        records: dict[Any, Any] = await self._link.ask(lambda: self._link.redis.hgetall(self._model_keys()[0]))
        return self._link.decode_all(ModelSpec, {name.decode(): records[name] for name in sorted(records)})

    async def _read_model(self, model_id: str) -> Any:
        data = await self._link.ask(lambda: self._link.redis.hget(self._model_keys()[0], model_id))
        if data is None:
            raise no_model(model_id)
        return data

    def _model_keys(self) -> tuple[str, str]:
        return self._link.key("models"), self._link.key("model_writers")


def _values(spec: ModelSpec) -> tuple[str, bytes, str]:
    """The id and the data of a model, and a name for the call that writes it."""
    return spec.model_id, encode(spec), secrets.token_hex(8)
