-- Take a run for execution: nobody holds it, or its lease is the one that stood still.
-- KEYS run, leases
-- ARGV run id, lease as it was seen ('' when none), the taker's token, idle ttl
-- Returns {attempt, events published so far}, or nil when somebody else holds it.
local run, leases = KEYS[1], KEYS[2]
local id, seen, token, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease = redis.call('HGET', leases, id) or ''
-- The taker's own token means that this is a retry after a lost reply.
if lease ~= seen and lease ~= token .. ':0' then return nil end
redis.call('HSET', run, 'state', 'running', 'holder', token)
redis.call('HSETNX', run, 'events', 0)
redis.call('HSETNX', run, 'generation', token)
local attempt = redis.call('HINCRBY', run, 'attempt', 1)
redis.call('EXPIRE', run, ttl)
redis.call('HSET', leases, id, token .. ':0')
redis.call('EXPIRE', leases, ttl)
return {attempt, tonumber(redis.call('HGET', run, 'events'))}
