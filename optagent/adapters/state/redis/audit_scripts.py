"""The steps of the audit log that Redis must take as one.

The digests are made by who appends: Lua here knows no SHA-256.
"""

# KEYS: the links (the newest first), the head, what the oldest link follows, this call. ARGV: link, the point that it
# makes, the head that it follows (empty: there is none), how many are kept, how long a call is known in ms.
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

# KEYS as above, but the call. ARGV: after how many links since the first that there ever was, how many at most. Counted
# from the oldest, so that what is appended meanwhile moves nothing.
PAGE = """
local start = redis.call('GET', KEYS[3]) or ''
local dropped = tonumber(string.match(start, '^(%d+):') or 0)
local read = math.max(0, ARGV[1] - dropped)
local links = redis.call('LRANGE', KEYS[1], -(read + ARGV[2]), -(read + 1))
return {start, redis.call('GET', KEYS[2]) or '', links}
"""
