"""Lua script that saves a rollout: its record is replaced, and looks are only added to their list.

So a look costs what it holds, however many came before it: their number grows with every percent of rows.
"""

from optagent.adapters.state.redis.scripts import FIND_RECORD

# KEYS: the rollout, the active ones by model, its looks. ARGV: data without looks, SHA-1 of the data that it replaces,
# writer, active (0 or 1), id, model, the number of looks in the list, the number of them that stay, then further looks.
SAVE_ROLLOUT = f"""{FIND_RECORD}
if redis.sha1hex(kept[1]) ~= ARGV[2] or redis.call('LLEN', KEYS[3]) ~= tonumber(ARGV[7]) then return 'CHANGED' end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'writer', ARGV[3])
if ARGV[8] == '0' then redis.call('DEL', KEYS[3]) end
for at = 9, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[at]) end
if ARGV[4] == '0' and redis.call('HGET', KEYS[2], ARGV[6]) == ARGV[5] then redis.call('HDEL', KEYS[2], ARGV[6]) end
return 'OK'
"""
