"""Histories in Redis or Valkey: a sorted set of rows by time for each series, read in one pipeline.

Keys, below a prefix: `history:MODEL:PLAN:rows:SERIES` (sorted set: members of `history_rows` by time), and
`history:MODEL:PLAN:series` (sorted set of series by the server's time of their last row), `...:count` (rows of all
series) and `...:seeded`. A series is dropped 90 days after its last row. Nothing waits for the disk: a crash may lose
the rows of the last second.
"""

from asyncio import timeout
from collections.abc import Sequence
from typing import Any

import numpy as np
from redis.exceptions import RedisError

from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.adapters.state.redis.history_rows import decode_rows, encode_row
from optagent.errors import Unavailable
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import Past, PastRow, kept_rows

MOST_ROWS = 2_000_000
"""Rows that are kept of a plan, of all its series: some hundred megabytes."""
KEPT_S = 90 * 86_400

_ROWS_AT_ONCE = 500
READ_S = 0.05
"""Seconds to wait for the past of a request: an answer without history is better than a late one."""

_READ_A_ROW_S = 0.0005
_STALE_AT_ONCE = 100

# KEYS: series by last use, count of rows, mark of seeding. ARGV: beginning of the keys of series, rows of one, rows of
# all, seconds until a series is dropped, bytes of values in a member, stale series to drop at once; then the name,
# the time and the member of each row.
_KEEP = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local used = string.format('%.6f', now)
local keep, width = tonumber(ARGV[2]), tonumber(ARGV[5])
local function drop(name)
  local rows = redis.call('ZCARD', ARGV[1] .. name)
  redis.call('DEL', ARGV[1] .. name)
  redis.call('ZREM', KEYS[1], name)
  redis.call('DECRBY', KEYS[2], rows)
end
for at = 7, #ARGV, 3 do
  local name, series, id = ARGV[at], ARGV[1] .. ARGV[at], string.sub(ARGV[at + 2], width + 1)
  local known = false
  for _, member in ipairs(redis.call('ZRANGE', series, 0, -1)) do
    if string.sub(member, width + 1) == id then known = true break end
  end
  if not known then
    redis.call('ZADD', series, ARGV[at + 1], ARGV[at + 2])
    redis.call('INCR', KEYS[2])
    local surplus = redis.call('ZCARD', series) - keep
    if surplus > 0 then
      redis.call('ZREMRANGEBYRANK', series, 0, surplus - 1)
      redis.call('DECRBY', KEYS[2], surplus)
    end
  end
  redis.call('ZADD', KEYS[1], used, name)
  redis.call('EXPIRE', series, 2 * ARGV[4])
end
local stale = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4], 'LIMIT', 0, ARGV[6])
for _, name in ipairs(stale) do drop(name) end
while tonumber(redis.call('GET', KEYS[2]) or 0) > tonumber(ARGV[3]) do
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not oldest then break end
  drop(oldest)
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 2 * ARGV[4]) end
return 'OK'
"""


class RedisHistories(RedisAdapter):
    """Histories on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop.

    A read takes at most `read_s`, and half a millisecond more for each row.
    """

    def __init__(self, url: str, prefix: str = "optagent", most_rows: int = MOST_ROWS, read_s: float = READ_S) -> None:
        super().__init__(RedisConnection(url, prefix))
        self._most_rows = most_rows
        self._read_s = read_s

    async def pasts(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, float]]) -> list[Past]:
        pasts: list[Past] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            pasts += await self._read(model_id, plan, rows[start : start + _ROWS_AT_ONCE])
        return pasts

    async def _read(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, float]]) -> list[Past]:
        series, limit_s = self._key(model_id, plan, "rows", ""), self._read_s + _READ_A_ROW_S * len(rows)
        pipe = self._link.redis.pipeline(transaction=False)
        for name, time in rows:
            before = f"({time!r}"
            pipe.zrevrangebyscore(series + name, before, "-inf", start=0, num=plan.depth, withscores=True)
            pipe.zcard(series + name)
        try:
            async with timeout(limit_s):
                answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {limit_s * 1000:g} ms"
            raise Unavailable(f"Redis at {self._link.address} does not give the history: {reason}") from None
        full = kept_rows(plan)
        return [
            _past_of(found, len(plan.columns), count < full or len(found) == plan.depth)
            for found, count in zip(answers[::2], answers[1::2], strict=True)
        ]

    async def keep(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, PastRow]]) -> None:
        keys = tuple(self._key(model_id, plan, part) for part in ("series", "count", "seeded"))
        limits = (kept_rows(plan), self._most_rows, KEPT_S, 8 * len(plan.columns), _STALE_AT_ONCE)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            values: list[Any] = [self._key(model_id, plan, "rows", ""), *limits]
            for name, row in rows[start : start + _ROWS_AT_ONCE]:
                values += (name, repr(row.time), encode_row(row))
            await self._link.run_at_once(_KEEP, keys, *values)

    async def is_seeded(self, model_id: str, plan: HistoryPlan) -> bool:
        key = self._key(model_id, plan, "seeded")
        return bool(await self._link.ask(lambda: self._link.redis.exists(key)))

    async def mark_seeded(self, model_id: str, plan: HistoryPlan) -> None:
        await self._link.write("SET", self._key(model_id, plan, "seeded"), "1", "EX", 2 * KEPT_S)

    def _key(self, model_id: str, plan: HistoryPlan, *parts: str) -> str:
        return self._link.key("history", model_id, plan.digest, *parts)


def _past_of(rows: Sequence[tuple[bytes, float]], width: int, whole: bool) -> Past:
    """The past of rows with their times, the newest first."""
    return Past(np.array([time for _, time in rows]), decode_rows([member for member, _ in rows], width), whole)
