-- Append numbered events to a log, for the holder of its lease only. Repeating a call changes nothing, so a client
-- library may retry it after a lost reply.
-- KEYS holder hash, log, leases
-- ARGV id, token, number of the first event, '1' when the last one ends the log, tokens that an ended job really used
--      ('' when that is not known), then the payloads
-- Returns the number of the last event in the log, or -1 when the token does not hold it, or when Redis forgot the log:
-- the job or run is forgotten with it then.
local holder, log, leases = KEYS[1], KEYS[2], KEYS[3]
local id, token, first, ends, spent = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local PAYLOADS = 6

-- A job has ended: charge its tenant for what it really used, and remember how long it took.
local function settle()
  local job = redis.call('HMGET', holder, 'queue', 'tenant', 'cost', 'weight', 'started')
  local name = job[1]
  if not name then return end  -- a run's log
  if spent then charge(name, job[2], (spent - job[3]) / job[4]) end
  local pace, took = PREFIX .. 'queue:pace:' .. model_of(name), now_ms() - job[5]
  local sums = redis.call('HMGET', pace, 'jobs', 'ms')
  if took >= 0 then  -- else Redis's clock went back meanwhile
    redis.call('HSET', pace, 'jobs', (sums[1] or 0) * PACE_MEMORY + 1, 'ms', (sums[2] or 0) * PACE_MEMORY + took)
    keep(pace)
  end
  redis.call('ZREM', RUNNING, id .. ' ' .. model_of(name))
end

local fields = redis.call('HMGET', holder, 'state', 'holder', 'events', 'generation')
if fields[2] ~= token then return -1 end
local count = tonumber(fields[3])
if fields[1] ~= 'running' then
  -- The same holder ended it before: a retry of the last call.
  if fields[1] == 'ended' and first + (#ARGV - PAYLOADS + 1) - 1 <= count then return count end
  return -1
end

-- A clock of Redis that jumps may end one of the two alone. Going on would leave a gap that nobody is told of.
local is_there = redis.call('EXISTS', log) == 1
if count == 0 and is_there then redis.call('DEL', log) end
if count > 0 and not is_there then
  local name = redis.call('HGET', holder, 'queue')
  if name then redis.call('ZREM', RUNNING, id .. ' ' .. model_of(name)) end
  redis.call('DEL', holder)
  redis.call('HDEL', leases, id)
  return -1
end

for i = PAYLOADS, #ARGV do
  local number = first + i - PAYLOADS
  if number > count then
    if ends and i == #ARGV then
      redis.call('XADD', log, 'MAXLEN', '~', LOG_MAX_EVENTS, number .. '-0', 'g', fields[4], 'p', ARGV[i], 'e', '1')
    else
      redis.call('XADD', log, 'MAXLEN', '~', LOG_MAX_EVENTS, number .. '-0', 'g', fields[4], 'p', ARGV[i])
    end
    count = number
  end
end
redis.call('HSET', holder, 'events', count)
if ends then
  settle()
  redis.call('HSET', holder, 'state', 'ended')
  redis.call('HDEL', holder, 'payload')
  redis.call('HDEL', leases, id)
  redis.call('EXPIRE', holder, ENDED_TTL_SECONDS)
  redis.call('EXPIRE', log, ENDED_TTL_SECONDS)
else
  redis.call('EXPIRE', log, IDLE_TTL_SECONDS)
end
return count
