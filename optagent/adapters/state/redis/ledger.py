"""Redis holdout ledger: the looks at holdouts in Redis or Valkey.

Keys, below a prefix: `looks:DIGEST` (list of JSON, the first look first), `look_numbers:DIGEST` (hash, by process and
candidate) and `look_verdicts:DIGEST` (hash, by number). Nothing expires: a look that was
dropped would be risk that is not counted.
"""

from dataclasses import replace
from typing import Any

from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import checked_look, no_look
from optagent.codec import encode
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook

# KEYS: the looks, their numbers. ARGV: process and candidate, look. A call that is repeated writes again, so that
# WAITAOF has a write of its own to wait for.
_SPEND = """
local number = redis.call('HGET', KEYS[2], ARGV[1])
if not number then number = redis.call('RPUSH', KEYS[1], ARGV[2]) end
redis.call('HSET', KEYS[2], ARGV[1], number)
return tonumber(number)
"""

# KEYS: the looks, the verdicts. ARGV: number, verdict.
_SETTLE = """
if tonumber(ARGV[1]) < 1 or tonumber(ARGV[1]) > redis.call('LLEN', KEYS[1]) then return 'MISSING' end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 'OK'
"""


class RedisLedger(RedisAdapter):
    """The part of a Store that counts looks at holdouts."""

    async def spend_look(self, holdout_digest: str, look: HoldoutLook) -> int:
        unsettled = encode(replace(checked_look(holdout_digest, look), number=0, verdict=None))
        keys = (self._link.key("looks", holdout_digest), self._link.key("look_numbers", holdout_digest))
        return int(await self._link.run(_SPEND, keys, look.identity, unsettled))

    async def settle_look(self, holdout_digest: str, number: int, verdict: Verdict) -> None:
        keys = (self._link.key("looks", holdout_digest), self._link.key("look_verdicts", holdout_digest))
        if await self._link.run(_SETTLE, keys, number, str(verdict)) == b"MISSING":
            raise no_look(holdout_digest, number)

    async def looks(self, holdout_digest: str) -> list[HoldoutLook]:
        records, verdicts = await self._link.ask(lambda: self._read_looks(holdout_digest))
        looks = []
        for number, data in enumerate(records, 1):
            verdict = verdicts.get(str(number).encode())
            look = self._link.decode_record(HoldoutLook, data, f"{number} at {holdout_digest}")
            looks.append(replace(look, number=number, verdict=None if verdict is None else Verdict(verdict.decode())))
        return looks

    async def _read_looks(self, holdout_digest: str) -> tuple[list[Any], dict[Any, Any]]:
        async with self._link.redis.pipeline(transaction=True) as pipe:
            pipe.lrange(self._link.key("looks", holdout_digest), 0, -1)
            pipe.hgetall(self._link.key("look_verdicts", holdout_digest))
            records, verdicts = await pipe.execute()
            return records, verdicts
