"""Redis retention: the records of old processes and rollouts are listed, and deleted with their places in indexes."""

from collections.abc import Sequence
from typing import Any

from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis.processes import StoredProcess
from optagent.adapters.state.redis.queue import RedisQueue
from optagent.adapters.state.redis.rollouts import RedisRollouts
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout

# KEYS: the process and its lease, the indexes. ARGV: id. A process that somebody runs or may run stays.
_DROP_PROCESS = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'ended') ~= '1' and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
end
for at = 3, #KEYS do redis.call('ZREM', KEYS[at], ARGV[1]) end
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
"""

# KEYS: the rollout, its looks, the active ones by model, the indexes. ARGV: id, model.
_DROP_ROLLOUT = """
if redis.call('HGET', KEYS[3], ARGV[2]) == ARGV[1] then return 0 end
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
"""


class RedisRetention(RedisQueue, RedisRollouts):
    """The parts of a Store that keep processes and rollouts, and let old ones go."""

    async def old_processes(self, model_id: str, before: float, limit: int = 1000) -> list[Process]:
        index, most = self._link.key("processes", model_id), checked_limit(limit)

        async def read_oldest() -> list[StoredProcess | None]:
            end = f"({before!r}"
            ids: list[Any] = await self._link.redis.zrangebyscore(index, "-inf", end, start=0, num=most)
            return await self._read_processes([item.decode() for item in ids])

        return [stored.process for stored in await self._link.ask(read_oldest) if stored is not None]

    async def drop_processes(self, processes: Sequence[Process]) -> int:
        count = 0
        for process in processes:
            count += int(await self._link.run(_DROP_PROCESS, self._process_keys(process), process.process_id))
        return count

    async def drop_rollouts(self, rollouts: Sequence[Rollout]) -> int:
        count = 0
        for rollout in rollouts:
            record, active = self._rollout_keys(rollout.rollout_id)
            keys = (record, self._looks_key(rollout.rollout_id), active, *self._rollout_indexes(rollout.model_id))
            count += int(await self._link.run(_DROP_ROLLOUT, keys, rollout.rollout_id, rollout.model_id))
        return count
