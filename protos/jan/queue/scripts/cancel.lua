-- Cancel a job. A waiting one ends at once with the given event; a running one is marked and its worker told.
-- KEYS job, log, bell, waiting
-- ARGV job id, last event, key prefix of queues, idle ttl, ended ttl, bell length
-- Returns 'cancelled', 'cancelling', or 'ended' when it was over or unknown.
local job, log, bell, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, last_event, queue_prefix, ttl, ended_ttl, bell_length = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local fields = redis.call('HMGET', job, 'state', 'queue', 'events', 'generation', 'tenant')
if fields[1] == 'queued' then
  redis.call('ZREM', queue_prefix .. fields[2], id)
  redis.call('HINCRBY', waiting, 'all', -1)
  if redis.call('HINCRBY', waiting, 't:' .. fields[5], -1) == 0 then redis.call('HDEL', waiting, 't:' .. fields[5]) end
  local number = tonumber(fields[3]) + 1
  redis.call('XADD', log, number .. '-0', 'g', fields[4], 'p', last_event, 'e', '1')
  redis.call('HSET', job, 'state', 'ended', 'events', number)
  redis.call('HDEL', job, 'payload')
  redis.call('EXPIRE', job, ended_ttl)
  redis.call('EXPIRE', log, ended_ttl)
  return 'cancelled'
elseif fields[1] == 'running' then
  redis.call('HSET', job, 'cancelled', '1')
  redis.call('XADD', bell, 'MAXLEN', '~', bell_length, '*', 'cancelled', id)
  redis.call('EXPIRE', bell, ttl)
  return 'cancelling'
end
return 'ended'
