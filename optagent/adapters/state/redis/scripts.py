"""Lua scripts of the Redis store: steps on its records that must be atomic.

A record is a hash with `data`, a domain object as JSON, and the call by which it was created. Each call draws a name of
its own: one that is repeated after a lost answer finds its name and has succeeded. It writes again, so that WAITAOF has
a write of its own to wait for.
"""

# The beginning of scripts that create a record. KEYS 1 is the record. ARGV: data, any, creation.
CREATE_RECORD = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'creation') ~= ARGV[3] then return 'TAKEN' end
  redis.call('HSET', KEYS[1], 'creation', ARGV[3])
  return 'OK'
end
"""

# The beginning of scripts that replace the data of a record: it ends a call that is repeated. KEYS 1 is the record.
# ARGV: data, SHA-1 of the data that it replaces, writer.
FIND_RECORD = """
local kept = redis.call('HMGET', KEYS[1], 'data', 'writer')
if not kept[1] then return 'MISSING' end
if kept[2] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'writer', ARGV[3])
  return 'OK'
end
"""

# The same with the replacement, and the whole of some. Other fields of the record that were written since stay.
REPLACE_RECORD = f"""{FIND_RECORD}
if redis.sha1hex(kept[1]) ~= ARGV[2] then return 'CHANGED' end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'writer', ARGV[3])
"""

REPLACE = f"{REPLACE_RECORD}return 'OK'\n"

# KEYS: models by id, the calls that wrote them last. ARGV: id, data, writer.
CREATE_MODEL = """
local writer = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 and writer ~= ARGV[3] then return 'TAKEN' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'OK'
"""

# KEYS and ARGV as above, then the SHA-1 of the data that it replaces, which is empty where that may be any or none.
SAVE_MODEL = """
local data = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[4] ~= '' and redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then
  if not data then return 'MISSING' end
  if redis.sha1hex(data) ~= ARGV[4] then return 'CHANGED' end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 'OK'
"""

# KEYS: the rollout, the active ones by model, the indexes. ARGV: data, active (0 or 1), creation, started_at, id,
# model.
CREATE_ROLLOUT = f"""{CREATE_RECORD}
local other = redis.call('HGET', KEYS[2], ARGV[6])
if other then return 'ACTIVE ' .. other end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'creation', ARGV[3])
if ARGV[2] == '1' then redis.call('HSET', KEYS[2], ARGV[6], ARGV[5]) end
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[5])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[5])
return 'OK'
"""

# KEYS: the token, the index. ARGV: data, created_at, creation, id.
CREATE_TOKEN = f"""{CREATE_RECORD}
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'creation', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[4])
return 'OK'
"""

# KEYS 1 is the report. ARGV: digest, data, retention in ms.
SAVE_REPORT = """
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'data', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'OK'
"""

# KEYS: models with alerts, the model's alerts, its resolved ones by time. ARGV: model, the time before which resolved
# ones are dropped, then id, data and time resolved (empty: open) of each alert.
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

# The beginning of scripts that let a claim of an idempotency key hold until a time by the server's clock, in ms.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: the answer, the number of the owner's new keys. ARGV: digest, call, duration of the claim in ms, retention in
# ms, id of the act if the key is new, most new keys. A key of an older version has no `until`: it expires by itself.
CLAIM_ANSWER = f"""{_NOW}
local kept = redis.call('HMGET', KEYS[1], 'digest', 'answer', 'call', 'act', 'until', 'first')
if kept[1] and kept[1] ~= ARGV[1] then return {{'OTHER'}} end
if kept[2] then return {{'KEPT', kept[4] or '', kept[2]}} end
if kept[1] and kept[3] ~= ARGV[2] and not (kept[5] and tonumber(kept[5]) <= now) then return {{'HELD'}} end
if not kept[1] then
  if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[6]) then return {{'FULL'}} end
  if redis.call('INCR', KEYS[2]) == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
  redis.call('HSET', KEYS[1], 'first', ARGV[2])
end
local act = kept[4] or ARGV[5]
local held_until = string.format('%.0f', now + ARGV[3])
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'call', ARGV[2], 'act', act, 'until', held_until)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {{(not kept[1] or kept[6] == ARGV[2]) and 'FIRST' or 'AGAIN', act}}
"""

# KEYS 1 is the answer. ARGV: call, duration of the claim in ms, retention in ms.
RENEW_ANSWER = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'call') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS 1 is the answer. ARGV: digest, answer, retention in ms.
KEEP_ANSWER = """
local kept = redis.call('HGET', KEYS[1], 'digest')
if kept and kept ~= ARGV[1] then return 0 end
redis.call('HSETNX', KEYS[1], 'answer', ARGV[2])
redis.call('HSET', KEYS[1], 'digest', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS 1 is the answer. ARGV: call.
SUSPEND_ANSWER = """
if redis.call('HGET', KEYS[1], 'call') == ARGV[1] then redis.call('HSET', KEYS[1], 'until', '0') end
return 1
"""

# KEYS: the answer, the number of the owner's new keys. ARGV: call.
RELEASE_ANSWER = """
local kept = redis.call('HMGET', KEYS[1], 'call', 'answer')
if kept[1] ~= ARGV[1] or kept[2] then return 0 end
redis.call('DEL', KEYS[1])
if tonumber(redis.call('GET', KEYS[2]) or '0') > 0 then redis.call('DECR', KEYS[2]) end
return 1
"""
