"""Redis holdout ledger: the looks at holdouts in Redis or Valkey.

Keys, below a prefix: `looks:LEDGER` (list of JSON, the first look first), `look_numbers:LEDGER` (hash, by process and
candidate) and `look_verdicts:LEDGER` (hash, by number). A ledger has the name of its model; those of earlier versions,
which have the digest of a holdout, can be read. Nothing expires: a look that was dropped would be risk that is not
counted. A look takes some 2.3 KB.
"""

from dataclasses import replace
from typing import Any

from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import checked_look, look_taken, no_look
from optagent.codec import encode
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook

# KEYS: the looks, their numbers. ARGV: process and candidate, look, its number. A call that is repeated writes again,
# so that WAITAOF has a write of its own to wait for.
_SPEND = """
local number = redis.call('HGET', KEYS[2], ARGV[1])
if not number then
  if redis.call('LLEN', KEYS[1]) + 1 ~= tonumber(ARGV[3]) then return 'TAKEN' end
  number = redis.call('RPUSH', KEYS[1], ARGV[2])
end
redis.call('HSET', KEYS[2], ARGV[1], number)
return redis.call('LINDEX', KEYS[1], number - 1)
"""

# KEYS: the looks, the verdicts. ARGV: number, verdict.
_SETTLE = """
if tonumber(ARGV[1]) < 1 or tonumber(ARGV[1]) > redis.call('LLEN', KEYS[1]) then return 'MISSING' end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 'OK'
"""


class RedisLedger(RedisAdapter):
    """The part of a Store that counts looks at holdouts."""

    async def spend_look(self, ledger: str, look: HoldoutLook) -> HoldoutLook:
        unsettled = encode(replace(checked_look(ledger, look), verdict=None))
        keys = (self._link.key("looks", ledger), self._link.key("look_numbers", ledger))
        data = await self._link.run(_SPEND, keys, look.identity, unsettled, look.number)
        if data == b"TAKEN":
            raise look_taken(ledger, look)
        return self._link.decode_record(HoldoutLook, data, f"of {look.identity} in {ledger}")

    async def settle_look(self, ledger: str, number: int, verdict: Verdict) -> None:
        keys = (self._link.key("looks", ledger), self._link.key("look_verdicts", ledger))
        if await self._link.run(_SETTLE, keys, number, str(verdict)) == b"MISSING":
            raise no_look(ledger, number)

    async def looks(self, ledger: str) -> list[HoldoutLook]:
        records, verdicts = await self._link.ask(lambda: self._read_looks(ledger))
        looks = []
        for number, data in enumerate(records, 1):
            verdict = verdicts.get(str(number).encode())
            look = self._link.decode_record(HoldoutLook, data, f"{number} in {ledger}")
            looks.append(replace(look, number=number, verdict=None if verdict is None else Verdict(verdict.decode())))
        return looks

    async def _read_looks(self, ledger: str) -> tuple[list[Any], dict[Any, Any]]:
        async with self._link.redis.pipeline(transaction=True) as pipe:
            pipe.lrange(self._link.key("looks", ledger), 0, -1)
            pipe.hgetall(self._link.key("look_verdicts", ledger))
            records, verdicts = await pipe.execute()
            return records, verdicts
