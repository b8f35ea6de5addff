"""Redis once-only keys: claims of work that is done once.

Keys, below a prefix: `first:KEY` (who came first; expires).
"""

import secrets

from optagent.adapters.state.process_lease import milliseconds
from optagent.adapters.state.redis.connection import RedisAdapter

# KEYS 1 is the work that is done once. ARGV: who asks, retention in ms. A call that is repeated writes again, so that
# WAITAOF has a write of its own to wait for.
_FIRST = """
local first = redis.call('GET', KEYS[1])
if first and first ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class RedisOnce(RedisAdapter):
    """The part of a Store that remembers which work was done."""

    async def claim_once(self, key: str, kept_s: float) -> bool:
        kept_ms = milliseconds("kept_s", kept_s)
        return bool(await self._link.run(_FIRST, (self._link.key("first", key),), secrets.token_hex(8), kept_ms))

    async def mark_done(self, key: str, kept_s: float) -> None:
        kept_ms = milliseconds("kept_s", kept_s)
        await self._link.write("SET", self._link.key("first", key), "remembered", "PX", kept_ms)
