"""Lua scripts of routing tables: steps that must be atomic.

A script that writes a table also publishes it, so that listeners hear the tables in the order in which they were
written. A step that is repeated after a lost answer writes and publishes again. An empty message asks the listener to
read the tables.
"""

# KEYS: active tables by model, staged ones, acknowledgements of this one. ARGV: model, table, its revision, channel.
STAGE = """
local active = redis.call('HGET', KEYS[1], ARGV[1])
local latest = active and cjson.decode(active)['revision'] or 0
if tonumber(ARGV[3]) ~= latest + 1 then return latest end
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then redis.call('DEL', KEYS[3]) end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 'OK'
"""

# KEYS: active tables by model, staged ones. ARGV: model, table with its time, SHA-1 of the staged one, channel.
ACTIVATE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  local staged = redis.call('HGET', KEYS[2], ARGV[1])
  if not staged or redis.sha1hex(staged) ~= ARGV[3] then return 'CHANGED' end
  redis.call('HDEL', KEYS[2], ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 'OK'
"""

# KEYS: staged tables by model, acknowledgements of this one. ARGV: model, revision, channel.
UNSTAGE = """
local staged = redis.call('HGET', KEYS[1], ARGV[1])
if staged and cjson.decode(staged)['revision'] == tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
end
redis.call('PUBLISH', ARGV[3], '')
return 'OK'
"""

# KEYS: acknowledgements. ARGV: gateway, why it cannot load the table (empty: it has), retention in ms.
ACKNOWLEDGE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'OK'
"""

# KEYS: last beat of each gateway, time until which each is alive. ARGV: gateway, alive for s.
BEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.6f', now))
redis.call('ZADD', KEYS[2], string.format('%.6f', now + ARGV[2]), ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now))) do
  redis.call('HDEL', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end
return 'OK'
"""

# KEYS as above. Answers gateways and times, one after the other.
ALIVE = """
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1e6)
local found = {}
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')) do
  found[#found + 1] = gateway
  found[#found + 1] = redis.call('HGET', KEYS[1], gateway)
end
return found
"""

# KEYS as above. ARGV: gateway.
LEAVE = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'OK'
"""
