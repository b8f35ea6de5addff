"""Lua scripts of processes: each writes the record of a process and its places in the indexes in one step.

KEYS of all scripts but `CANCEL` and `RETIRE`: 1 the record, 2 its lease, 3 all processes, 4 those of its model, 5 those
of its model and kind; and of those that have not ended: 6 all, 7 those of its model, 8 those that wait, by their turn,
9 those that a runner has taken, 10 those that wait and were asked to stop; and 11 those that ended last, by their end.
All from 3 on are sorted sets of ids.
"""

from optagent.adapters.state.redis.scripts import CREATE_RECORD, REPLACE_RECORD

_MOST_ENDED = 10_000  # that are remembered by their end

# Puts an id into the sets of its state (waiting, held or ended) and takes it out of all others. `turn` says when a
# process that waits starts, and when one ended that has.
_INDEX = f"""
local function index(state, id, created_at, turn)
  for at = 6, 10 do redis.call('ZREM', KEYS[at], id) end
  if state == 'ended' then
    redis.call('ZADD', KEYS[11], turn, id)
    redis.call('ZREMRANGEBYRANK', KEYS[11], 0, -{_MOST_ENDED + 1})
    return
  end
  redis.call('ZADD', KEYS[6], created_at, id)
  redis.call('ZADD', KEYS[7], created_at, id)
  if state == 'held' then redis.call('ZADD', KEYS[9], created_at, id) return end
  redis.call('ZADD', KEYS[8], turn, id)
  if redis.call('HEXISTS', KEYS[1], 'cancel') == 1 then redis.call('ZADD', KEYS[10], turn, id) end
end
"""

# ARGV: data, ended, creation, state, id, created_at, turn, outcome, lease in ms (0 for a process that nobody holds),
# the most that may wait (empty: any number).
CREATE = f"""{_INDEX}{CREATE_RECORD}
if ARGV[10] ~= '' and redis.call('ZCARD', KEYS[8]) >= tonumber(ARGV[10]) then return 'FULL' end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'ended', ARGV[2], 'creation', ARGV[3], 'outcome', ARGV[8])
if ARGV[9] ~= '0' then redis.call('SET', KEYS[2], '1', 'PX', ARGV[9]) end
for at = 3, 5 do redis.call('ZADD', KEYS[at], ARGV[6], ARGV[5]) end
index(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 'OK'
"""

# ARGV after those of `REPLACE_RECORD`: state, id, created_at, turn, lease in ms, holder.
CLAIM = f"""{_INDEX}
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HGET', KEYS[1], 'writer') ~= ARGV[3] then return 'HELD' end
{REPLACE_RECORD}
redis.call('HSET', KEYS[1], 'holder', ARGV[9])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[8])
index(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 'OK'
"""

# The beginning of scripts that only the runner of a process may run. ARGV: holder.
_HELD = """
local kept = redis.call('HMGET', KEYS[1], 'ended', 'holder')
if not kept[1] then return 'MISSING' end
if kept[2] and kept[2] ~= ARGV[1] then return 'LOST' end
"""

# ARGV: holder, data, ended, state, id, created_at, turn, outcome.
SAVE = f"""{_INDEX}{_HELD}
if kept[1] == '1' and ARGV[3] == '0' then return 'ENDED' end
redis.call('HSET', KEYS[1], 'data', ARGV[2], 'ended', ARGV[3], 'outcome', ARGV[8])
if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
index(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 'OK'
"""

# ARGV: holder, lease in ms, any, state, id, created_at, turn. A process whose lease had run out is `RETIRE`d no more. A
# full server refuses SET and takes PEXPIRE: what runs there runs on.
RENEW = f"""{_INDEX}{_HELD}
if kept[1] == '0' then
  if redis.call('PEXPIRE', KEYS[2], ARGV[2]) == 0 then redis.call('SET', KEYS[2], '1', 'PX', ARGV[2]) end
  if not redis.call('ZSCORE', KEYS[6], ARGV[5]) then index(ARGV[4], ARGV[5], ARGV[6], ARGV[7]) end
end
return 'OK'
"""

# KEYS: the record, those that wait by their turn, those of them that were asked to stop. ARGV: id.
CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'MISSING' end
redis.call('HSET', KEYS[1], 'cancel', '1')
local turn = redis.call('ZSCORE', KEYS[2], ARGV[1])
if turn then redis.call('ZADD', KEYS[3], turn, ARGV[1]) end
return 'OK'
"""

# Takes a process out of the sets of those that have not ended: it has lost its runner for good, or its record is gone.
# KEYS: the record, its lease, those that ended last, the sets. ARGV: id, the time of its end (empty where it is gone).
RETIRE = f"""
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('EXISTS', KEYS[2]) == 1 then return 'HELD' end
for at = 4, #KEYS do redis.call('ZREM', KEYS[at], ARGV[1]) end
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1]) end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -{_MOST_ENDED + 1})
return 'OK'
"""

# Indexes a process that an older version has stored, whose record has no outcome yet. ARGV: any, any, any, state, id,
# created_at, turn, outcome. State and outcome were read before: what the record says now counts.
ADOPT = f"""{_INDEX}
local kept = redis.call('HMGET', KEYS[1], 'ended', 'holder', 'outcome')
if not kept[1] or kept[3] then return 'DONE' end
local state = ARGV[4]
if kept[1] == '1' then
  if state ~= 'ended' then return 'CHANGED' end
elseif kept[2] then
  state = 'held'
end
redis.call('HSET', KEYS[1], 'outcome', ARGV[8])
redis.call('ZADD', KEYS[5], ARGV[6], ARGV[5])
index(state, ARGV[5], ARGV[6], ARGV[7])
return 'OK'
"""
