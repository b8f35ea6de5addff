"""Dashboard sessions in Redis or Valkey.

Keys, below a prefix: `session:DIGEST` (hash: `data`, a record, and `until`, the end by the server's clock in ms;
expires), `sessions:TOKEN` (sorted set of the digests of a token's sessions by the time of their creation; expires).
"""

from optagent.adapters.state.process_lease import milliseconds
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.codec import encode
from optagent.domain.session import MOST_SESSIONS, DashboardSession

# KEYS: session, sessions of its token. ARGV: data, lifetime in ms, most ms between requests, digest, most sessions,
# beginning of the keys of sessions.
_CREATE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'until', string.format('%d', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], math.min(tonumber(ARGV[2]), tonumber(ARGV[3])))
redis.call('ZADD', KEYS[2], string.format('%.6f', time[1] + time[2] / 1e6), ARGV[4])
for _, digest in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if redis.call('EXISTS', ARGV[6] .. digest) == 0 then redis.call('ZREM', KEYS[2], digest) end
end
local surplus = redis.call('ZCARD', KEYS[2]) - ARGV[5]
if surplus > 0 then
  for _, digest in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do
    redis.call('DEL', ARGV[6] .. digest)
    redis.call('ZREM', KEYS[2], digest)
  end
end
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return 'OK'
"""

# KEYS: session. ARGV: most ms between requests. Answers its data.
_USE = """
local session = redis.call('HMGET', KEYS[1], 'data', 'until')
if not session[1] then return false end
local time = redis.call('TIME')
local left = session[2] - (time[1] * 1000 + math.floor(time[2] / 1000))
if left <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
redis.call('PEXPIRE', KEYS[1], string.format('%d', math.min(left, tonumber(ARGV[1]))))
return session[1]
"""


class RedisSessions(RedisAdapter):
    """Sessions on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop.

    That a session was used need not reach the disk: after a crash it ends somewhat sooner.
    """

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisConnection(url, prefix))

    async def create(self, session: DashboardSession, idle_s: float) -> None:
        lifetime_ms = milliseconds("ends_at - created_at", session.ends_at - session.created_at)
        values = (lifetime_ms, milliseconds("idle_s", idle_s), session.digest, MOST_SESSIONS, self._key(""))
        keys = (self._key(session.digest), self._link.key("sessions", session.token_id))
        await self._link.run(_CREATE, keys, encode(session), *values)

    async def use(self, digest: str, idle_s: float) -> DashboardSession | None:
        data = await self._link.run_at_once(_USE, (self._key(digest),), milliseconds("idle_s", idle_s))
        return None if data is None else self._link.decode_record(DashboardSession, data, digest[:12])

    async def end(self, digest: str) -> None:
        await self._link.write("DEL", self._key(digest))

    def _key(self, digest: str) -> str:
        return self._link.key("session", digest)
