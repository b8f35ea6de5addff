"""Lua scripts of the audit log: steps that must be atomic.

The writer computes the digests, since Lua in Redis has no SHA-256.
"""

# KEYS: the links (the newest first), the head, the point before the oldest link, this call. ARGV: link, its point, the
# head that it follows (empty: there is none), the number of links to keep, retention of a call in ms.
APPEND = """
if redis.call('PEXPIRE', KEYS[4], ARGV[5]) == 1 then return 'OK' end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 'CHANGED' end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
for _ = 1, redis.call('LLEN', KEYS[1]) - ARGV[4] do
  local dropped = redis.call('RPOP', KEYS[1])
  local digest = string.match(dropped, '^{"digest":"(%x+)"')
  local sequence = string.match(dropped, '"sequence":(%d+)}$')
  if digest and sequence then redis.call('SET', KEYS[3], sequence .. ':' .. digest) end
end
redis.call('SET', KEYS[4], '1', 'PX', ARGV[5])
return 'OK'
"""

# KEYS as above without the call. ARGV: the number of links to skip since the first there ever was, the most to read.
# It counts from the oldest, so that links which are appended meanwhile move nothing.
PAGE = """
local start = redis.call('GET', KEYS[3]) or ''
local dropped = tonumber(string.match(start, '^(%d+):') or 0)
local read = math.max(0, ARGV[1] - dropped)
local links = redis.call('LRANGE', KEYS[1], -(read + ARGV[2]), -(read + 1))
return {start, redis.call('GET', KEYS[2]) or '', links}
"""
