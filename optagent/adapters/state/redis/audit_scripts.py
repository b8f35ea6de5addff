"""Lua scripts of the audit log: steps that must be atomic.

The writer computes digests and signatures, since Lua in Redis has no SHA-256.
"""

# KEYS: the links (the newest first), the head, the point before the oldest link, this call, the id of the key that
# signs. ARGV: link, its point, the head that it follows (empty: there is none), the number of links to keep (0: all),
# retention of a call in ms, the id of the own key (empty: none), the ids of the older own keys.
# Answers the point at which the entry of this call stands, 'CHANGED', or 'KEY ' and the id of a key that is not known.
# Its first write is one that a full server takes, and so are the others then: what is done there, such as a pruning,
# needs its entry.
APPEND = """
redis.call('PEXPIRE', KEYS[4], ARGV[5])
local place = redis.call('GET', KEYS[4])
if place then return place end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 'CHANGED' end
local signer = redis.call('GET', KEYS[5])
if signer and signer ~= ARGV[6] then
  local known = false
  for number = 7, #ARGV do known = known or ARGV[number] == signer end
  if not known then return 'KEY ' .. signer end
end
if ARGV[6] ~= '' and signer ~= ARGV[6] then redis.call('SET', KEYS[5], ARGV[6]) end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
local most = tonumber(ARGV[4])
for _ = 1, most > 0 and redis.call('LLEN', KEYS[1]) - most or 0 do
  local dropped = redis.call('RPOP', KEYS[1])
  local digest = string.match(dropped, '^{"digest":"(%x+)"')
  local sequence = string.match(dropped, '"sequence":(%d+)}$')
  if digest and sequence then redis.call('SET', KEYS[3], sequence .. ':' .. digest) end
end
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[5])
return ARGV[2]
"""

# KEYS: the links, the head, the point before the oldest link. ARGV: the number of links to skip since the first there
# ever was, the most to read, '1' to read only places up to both together, even where the oldest link is beyond them.
# It counts from the oldest, so that links which are appended meanwhile move nothing.
PAGE = """
local start = redis.call('GET', KEYS[3]) or ''
local dropped = tonumber(string.match(start, '^(%d+):') or 0)
local first = math.max(0, ARGV[1] - dropped)
local last = ARGV[3] == '1' and ARGV[1] + ARGV[2] - dropped or first + ARGV[2]
local links = last > first and redis.call('LRANGE', KEYS[1], -last, -(first + 1)) or {}
return {start, redis.call('GET', KEYS[2]) or '', links}
"""

# KEYS as for PAGE. ARGV: the point before the oldest link as it was read (empty: none), the number of links to drop,
# the last one of them, the point before the oldest link from then on. Drops links that are archived.
TRIM = """
if (redis.call('GET', KEYS[3]) or '') ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[1], -tonumber(ARGV[2])) ~= ARGV[3] then return 0 end
redis.call('LTRIM', KEYS[1], 0, -tonumber(ARGV[2]) - 1)
redis.call('SET', KEYS[3], ARGV[4])
return 1
"""
