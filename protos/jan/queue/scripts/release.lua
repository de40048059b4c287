-- Put a running job back at its old place, either by its worker (lease is empty) or because its lease stood still.
-- A job that was cancelled meanwhile, or lost its worker too often, is ended with the event for that instead.
-- KEYS job, leases, queued models, bell, log, waiting
-- ARGV job id, token, lease as it was seen ('' by the worker itself), most lost workers, event of a failed end, event of
--      a cancelled end,
--      key prefix of queues, idle ttl, ended ttl, bell length
-- Returns 'released', 'ended' or 'kept' when somebody else has acted meanwhile.
local job, leases, models, bell, log, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, token, seen, most, failed_event = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local cancelled_event, queue_prefix, ttl, ended_ttl, bell_length = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]

if seen ~= '' and redis.call('HGET', leases, id) ~= seen then return 'kept' end
local fields = redis.call('HMGET', job, 'state', 'holder', 'queue', 'class', 'score', 'events', 'cancelled', 'generation',
                          'tenant')
if fields[1] ~= 'running' or fields[2] ~= token then
  if seen ~= '' then redis.call('HDEL', leases, id) end
  return 'kept'
end
redis.call('HDEL', leases, id)

local last_event = nil
if fields[7] then
  last_event = cancelled_event
elseif seen ~= '' and redis.call('HINCRBY', job, 'failures', 1) >= most then
  last_event = failed_event
end
if last_event then
  local number = tonumber(fields[6]) + 1
  redis.call('XADD', log, number .. '-0', 'g', fields[8], 'p', last_event, 'e', '1')
  redis.call('HSET', job, 'state', 'ended', 'events', number)
  redis.call('HDEL', job, 'payload')
  redis.call('EXPIRE', job, ended_ttl)
  redis.call('EXPIRE', log, ended_ttl)
  return 'ended'
end

-- No bound refuses it: it was accepted before.
redis.call('HINCRBY', waiting, 'all', 1)
redis.call('HINCRBY', waiting, 't:' .. fields[9], 1)
redis.call('EXPIRE', waiting, ttl)
redis.call('HSET', job, 'state', 'queued', 'holder', '')
redis.call('ZADD', queue_prefix .. fields[3], fields[5], id)
redis.call('EXPIRE', queue_prefix .. fields[3], ttl)
redis.call('ZADD', models, fields[4], fields[3])
redis.call('EXPIRE', models, ttl)
redis.call('XADD', bell, 'MAXLEN', '~', bell_length, '*', 'released', id)
redis.call('EXPIRE', bell, ttl)
return 'released'
