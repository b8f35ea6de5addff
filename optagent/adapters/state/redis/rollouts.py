"""Redis rollouts: the records of rollouts in Redis or Valkey.

Keys, below a prefix: `rollout:ID` (a record), `active_rollouts` (hash, the id of the active one by model), `rollouts`
and `rollouts:MODEL` (sorted sets of ids by the time of their start).
"""

import secrets
from typing import Any

from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import another_rollout_active, checked_successor, no_rollout, rollout_exists
from optagent.codec import encode
from optagent.domain.rollout import Rollout

_ACTIVE = b"ACTIVE "


class RedisRollouts(RedisAdapter):
    """The part of a Store that keeps rollouts."""

    async def create_rollout(self, rollout: Rollout) -> None:
        keys = (*self._rollout_keys(rollout.rollout_id), *self._rollout_indexes(rollout.model_id))
        values = (encode(rollout), _active_flag(rollout), secrets.token_hex(8), repr(rollout.started_at))
        names = (rollout.rollout_id, rollout.model_id)
        answer = await self._link.run(scripts.CREATE_ROLLOUT, keys, *values, *names)
        if answer == b"TAKEN":
            raise rollout_exists(rollout)
        if answer.startswith(_ACTIVE):
            raise another_rollout_active(rollout, answer.removeprefix(_ACTIVE).decode())

    async def save_rollout(self, rollout: Rollout, before: Rollout) -> None:
        def successor(stored: Rollout) -> Rollout:
            return checked_successor(rollout, before, stored)

        keys, names = self._rollout_keys(rollout.rollout_id), (rollout.rollout_id, rollout.model_id)
        script, values = scripts.SAVE_ROLLOUT, (_active_flag(rollout), *names)
        if await self._link.replace(script, keys, Rollout, rollout.rollout_id, successor, *values) is None:
            raise no_rollout(rollout.rollout_id)

    async def rollout(self, rollout_id: str) -> Rollout:
        record, _ = self._rollout_keys(rollout_id)
        data = await self._link.ask(lambda: self._link.redis.hget(record, "data"))
        if data is None:
            raise no_rollout(rollout_id)
        return self._link.decode_record(Rollout, data, rollout_id)

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        newest, of_model = self._rollout_indexes(model_id or "")
        index, last = newest if model_id is None else of_model, checked_limit(limit) - 1
        records = await self._link.ask(lambda: self._read_newest(index, last))
        return [self._link.decode_record(Rollout, data, name) for name, data in records.items() if data is not None]

    async def _read_newest(self, index: str, last: int) -> dict[str, Any]:
        ids: list[Any] = await self._link.redis.zrevrange(index, 0, last)
        names = [item.decode() for item in ids]
        async with self._link.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(self._rollout_keys(name)[0], "data")
            return dict(zip(names, await pipe.execute(), strict=True))

    def _rollout_keys(self, rollout_id: str) -> tuple[str, str]:
        return self._link.key("rollout", rollout_id), self._link.key("active_rollouts")

    def _rollout_indexes(self, model_id: str) -> tuple[str, str]:
        return self._link.key("rollouts"), self._link.key("rollouts", model_id)


def _active_flag(rollout: Rollout) -> int:
    return int(rollout.state.is_active)
