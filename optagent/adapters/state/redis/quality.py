"""Redis quality: the points of each model's quality over time, in Redis or Valkey.

Keys, below a prefix: `quality:MODEL` (sorted set of JSON by the end of the window).
"""

from collections.abc import Sequence
from typing import Any

from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.codec import encode
from optagent.domain.quality_point import MOST_POINTS, QualityPoint

# KEYS: the points. ARGV: the most that are kept, then the end of each window and its data.
_SAVE_POINTS = """
for at = 2, #ARGV, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[at], ARGV[at])
  redis.call('ZADD', KEYS[1], ARGV[at], ARGV[at + 1])
end
return redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
"""


class RedisQuality(RedisAdapter):
    """The part of a Store that keeps the quality of models over time."""

    async def save_quality(self, model_id: str, points: Sequence[QualityPoint]) -> None:
        if points:
            values = [value for point in points for value in (repr(point.window.end), encode(point))]
            await self._link.run(_SAVE_POINTS, (self._link.key("quality", model_id),), MOST_POINTS, *values)

    async def quality(
        self, model_ids: Sequence[str], since: float = 0.0, most: int = MOST_POINTS
    ) -> dict[str, list[QualityPoint]]:
        limit = checked_limit(most)

        async def read_newest() -> list[list[Any]]:
            async with self._link.redis.pipeline(transaction=False) as pipe:
                for model_id in model_ids:
                    pipe.zrange(
                        self._link.key("quality", model_id),
                        "+inf",
                        repr(since),
                        desc=True,
                        byscore=True,
                        offset=0,
                        num=limit,
                    )
                answers: list[list[Any]] = await pipe.execute()
                return answers

        newest = await self._link.ask(read_newest)
        return {
            model_id: self._link.decode_all(
                QualityPoint, {f"{model_id} quality {-place}": data for place, data in enumerate(records[::-1])}
            )
            for model_id, records in zip(model_ids, newest, strict=True)
        }
