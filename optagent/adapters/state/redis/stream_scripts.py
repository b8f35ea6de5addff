"""Lua scripts of the observation stream: steps that must be atomic. KEYS 1 is the stream, 2 counts what waits in it.

A server without memory refuses a command that adds to it, unless the script has written before: so RECORD begins with
such a command and is refused as a whole, and scripts that take rows away begin with one that adds nothing, and work.
"""

# ARGV: epoch of a new stream, most rows, most bytes, retention of a call in ms, then kind, rows and data of each
# entry. A call that is repeated after a lost answer writes again, so that WAITAOF has a write of its own to wait for.
RECORD = """
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  return {}
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'rows', 0, 'bytes', 0)
else
  redis.call('HSETNX', KEYS[2], 'epoch', ARGV[1])
end
local waiting = redis.call('HMGET', KEYS[2], 'epoch', 'rows', 'bytes')
local rows, bytes = 0, 0
for at = 5, #ARGV, 3 do
  rows, bytes = rows + tonumber(ARGV[at + 1]), bytes + #ARGV[at + 2]
end
local has_rows, has_bytes = tonumber(waiting[2] or 0), tonumber(waiting[3] or 0)
if has_rows > 0 and (has_rows + rows > tonumber(ARGV[2]) or has_bytes + bytes > tonumber(ARGV[3])) then
  return {has_rows, has_bytes}
end
for at = 5, #ARGV, 3 do
  redis.call('XADD', KEYS[1], '*', 'epoch', waiting[1], 'kind', ARGV[at], 'rows', ARGV[at + 1], 'data', ARGV[at + 2])
end
redis.call('HINCRBY', KEYS[2], 'rows', rows)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
return {}
"""

# ARGV: group, consumer, idle ms after which an entry counts as abandoned, most rows, most bytes.
# It claims abandoned entries, then reads our own from the oldest on, then new ones.
TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {'', {}} end
redis.call('PERSIST', KEYS[1])
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
local cursor, claimed = '0-0', 0
repeat
  local found = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', 100, 'JUSTID')
  cursor, claimed = found[1], claimed + #found[2]
until cursor == '0-0' or claimed >= 1000
local taken, rows, bytes, from = {}, 0, 0, '0'
while rows < tonumber(ARGV[4]) and bytes < tonumber(ARGV[5]) do
  local read = redis.call(
    'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], from)
  local entry = read and read[1] and read[1][2][1]
  if entry and entry[2] then
    for at = 1, #entry[2], 2 do
      if entry[2][at] == 'rows' then rows = rows + (tonumber(entry[2][at + 1]) or 0) end
      bytes = bytes + #entry[2][at + 1]
    end
    taken[#taken + 1] = entry
    if from ~= '>' then from = entry[1] end
  elseif entry then
    redis.call('XACK', KEYS[1], ARGV[1], entry[1])
  elseif from ~= '>' then
    from = '>'
  else
    break
  end
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
return {oldest[1] and oldest[1][1] or '', taken}
"""

# ARGV: group, then id, rows and bytes of each entry.
DONE = """
local rows, bytes = 0, 0
for at = 2, #ARGV, 3 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 then
    rows, bytes = rows + tonumber(ARGV[at + 1]), bytes + tonumber(ARGV[at + 2])
  end
end
redis.call('HINCRBY', KEYS[2], 'rows', -rows)
redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('HSET', KEYS[2], 'rows', 0, 'bytes', 0) end
return 1
"""

# ARGV: group, our consumer, idle ms after which other consumers are removed. It removes only those without entries.
LEAVE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end
for _, listed in ipairs(consumers) do
  local of = {}
  for at = 1, #listed, 2 do of[listed[at]] = listed[at + 1] end
  if of['pending'] == 0 and (of['name'] == ARGV[2] or of['idle'] > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of['name'])
  end
end
return 1
"""
