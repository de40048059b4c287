-- Append numbered events to a log, for the holder of its lease only. Repeating a call changes nothing, so a client
-- library may retry it after a lost reply.
-- KEYS holder hash, log, leases
-- ARGV id, token, number of the first event, '1' when the last one ends the log, most events, idle ttl, ended ttl,
--      then the payloads
-- Returns the number of the last event in the log, or -1 when the token does not hold it.
local holder, log, leases = KEYS[1], KEYS[2], KEYS[3]
local id, token, first, ends = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local most, idle_ttl, ended_ttl = ARGV[5], ARGV[6], ARGV[7]

local fields = redis.call('HMGET', holder, 'state', 'holder', 'events', 'generation')
if fields[2] ~= token then return -1 end
local count = tonumber(fields[3])
if fields[1] ~= 'running' then
  -- The same holder ended it before: a retry of the last call.
  if fields[1] == 'ended' and first + (#ARGV - 7) - 1 <= count then return count end
  return -1
end

for i = 8, #ARGV do
  local number = first + i - 8
  if number > count then
    if ends and i == #ARGV then
      redis.call('XADD', log, 'MAXLEN', '~', most, number .. '-0', 'g', fields[4], 'p', ARGV[i], 'e', '1')
    else
      redis.call('XADD', log, 'MAXLEN', '~', most, number .. '-0', 'g', fields[4], 'p', ARGV[i])
    end
    count = number
  end
end
redis.call('HSET', holder, 'events', count)
if ends then
  redis.call('HSET', holder, 'state', 'ended')
  redis.call('HDEL', holder, 'payload')
  redis.call('HDEL', leases, id)
  redis.call('EXPIRE', holder, ended_ttl)
  redis.call('EXPIRE', log, ended_ttl)
else
  redis.call('EXPIRE', log, idle_ttl)
end
return count
