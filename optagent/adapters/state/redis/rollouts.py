"""Redis rollouts: the records of rollouts in Redis or Valkey.

Keys, below a prefix: `rollout:ID` (a record without looks; earlier versions kept them in it), `rollout_looks:ID` (list
of the looks in order), `active_rollouts` (hash, the id of the active one by model), `rollouts` and `rollouts:MODEL`
(sorted sets of ids by the time of their start).
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha1
from typing import Any

from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis import rollout_scripts, scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import another_rollout_active, checked_successor, no_rollout, rollout_exists
from optagent.codec import encode
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import JudgedLook

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
        keys = (*self._rollout_keys(rollout.rollout_id), self._looks_key(rollout.rollout_id))
        names, writer = (rollout.rollout_id, rollout.model_id), secrets.token_hex(8)

        async def try_save() -> None:
            while True:
                ((data, looks),) = await self._link.ask(lambda: self._read_rollout_records([rollout.rollout_id]))
                if data is None:
                    raise no_rollout(rollout.rollout_id)
                stored = self._join_looks(rollout.rollout_id, data, looks)
                after = checked_successor(rollout, before, stored)
                stays = len(looks) if after.looks[: len(looks)] == stored.looks[: len(looks)] else 0
                values = (encode(replace(after, looks=())), sha1(data, usedforsecurity=False).hexdigest(), writer)
                further = [encode(judged) for judged in after.looks[stays:]]
                counts = (len(looks), stays)
                flags = (_active_flag(after), *names)
                script = rollout_scripts.SAVE_ROLLOUT
                if await self._link.run(script, keys, *values, *flags, *counts, *further) == b"OK":
                    return

        await self._link.ask(try_save)

    async def rollout(self, rollout_id: str) -> Rollout:
        ((data, looks),) = await self._link.ask(lambda: self._read_rollout_records([rollout_id]))
        if data is None:
            raise no_rollout(rollout_id)
        return self._join_looks(rollout_id, data, looks)

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        newest, of_model = self._rollout_indexes(model_id or "")
        index, last = newest if model_id is None else of_model, checked_limit(limit) - 1
        names, records = await self._link.ask(lambda: self._read_newest(index, last))
        stored = {name: record for name, record in zip(names, records, strict=True) if record[0] is not None}
        if model_id is not None:  # its newest decides about the model: without it, nothing may be decided
            for name, (data, looks) in list(stored.items())[:1]:
                self._join_looks(name, data, looks)
        return self._link.unreadable.decode_all(
            Rollout, stored, lambda record, name: self._join_looks(name, record[0], record[1])
        )

    async def _read_newest(self, index: str, last: int) -> tuple[list[str], list[tuple[Any, list[Any]]]]:
        ids: list[Any] = await self._link.redis.zrevrange(index, 0, last)
        names = [item.decode() for item in ids]
        return names, await self._read_rollout_records(names)

    async def _read_rollout_records(self, rollout_ids: Sequence[str]) -> list[tuple[Any, list[Any]]]:
        """The data and the looks of rollouts, in one transaction: a look must not come between the two."""
        async with self._link.redis.pipeline(transaction=True) as pipe:
            for rollout_id in rollout_ids:
                pipe.hget(self._rollout_keys(rollout_id)[0], "data")
                pipe.lrange(self._looks_key(rollout_id), 0, -1)
            answers = await pipe.execute()
        return list(zip(answers[::2], answers[1::2], strict=True))

    def _join_looks(self, rollout_id: str, data: bytes, looks: Sequence[bytes]) -> Rollout:
        rollout = self._link.decode_record(Rollout, data, rollout_id)
        further = [self._link.decode_record(JudgedLook, item, rollout_id) for item in looks]
        return replace(rollout, looks=(*rollout.looks, *further)) if further else rollout

    def _looks_key(self, rollout_id: str) -> str:
        return self._link.key("rollout_looks", rollout_id)

    def _rollout_keys(self, rollout_id: str) -> tuple[str, str]:
        return self._link.key("rollout", rollout_id), self._link.key("active_rollouts")

    def _rollout_indexes(self, model_id: str) -> tuple[str, str]:
        return self._link.key("rollouts"), self._link.key("rollouts", model_id)


def _active_flag(rollout: Rollout) -> int:
    return int(rollout.state.is_active)
