"""The steps that Redis must take as one. KEYS 1 and 2 of those on processes are a process and its lease."""

# ARGV: data, ended, creation, lease in ms, created_at, id; KEYS 3 and 4 are the indexes.
# `creation` is drawn for each call: a call repeated after a lost answer finds its own and has succeeded. It writes
# again, so that WAITAOF has a write of its own to wait for.
CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'creation') ~= ARGV[3] then return 'TAKEN' end
  redis.call('HSET', KEYS[1], 'creation', ARGV[3])
  return 'OK'
end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'ended', ARGV[2], 'creation', ARGV[3])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[5], ARGV[6])
redis.call('ZADD', KEYS[4], ARGV[5], ARGV[6])
return 'OK'
"""

# ARGV: data, ended.
SAVE = """
local ended = redis.call('HGET', KEYS[1], 'ended')
if not ended then return 'MISSING' end
if ended == '1' and ARGV[2] == '0' then return 'ENDED' end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'ended', ARGV[2])
if ARGV[2] == '1' then redis.call('DEL', KEYS[2]) end
return 'OK'
"""

# ARGV: lease in ms.
RENEW = """
local ended = redis.call('HGET', KEYS[1], 'ended')
if not ended then return 'MISSING' end
if ended == '0' then redis.call('SET', KEYS[2], '1', 'PX', ARGV[1]) end
return 'OK'
"""

CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'MISSING' end
redis.call('HSET', KEYS[1], 'cancel', '1')
return 'OK'
"""

# ARGV: digest, data, how long it is kept in ms. KEYS 1 is the report.
SAVE_REPORT = """
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'data', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'OK'
"""

# KEYS: models with alerts, the model's alerts, its resolved ones by time. ARGV: model, the time before which resolved
# ones are forgotten, then id, data and time resolved (empty: open) of each alert.
SAVE_ALERTS = """
redis.call('SADD', KEYS[1], ARGV[1])
for at = 3, #ARGV, 3 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  if ARGV[at + 2] == '' then
    redis.call('ZREM', KEYS[3], ARGV[at])
  else
    redis.call('ZADD', KEYS[3], ARGV[at + 2], ARGV[at])
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[2])) do
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
return 'OK'
"""
