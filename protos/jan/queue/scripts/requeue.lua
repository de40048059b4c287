-- Give a dead letter another chance, a whole one: its place is that of a new job, its log begins anew, and so do its
-- attempts and what hosts said of it.
-- KEYS job
-- ARGV job id, generation of the log ('' forgets the dead letter instead: something else is done in its place)
-- Returns 1, or 0 when it is no dead letter.
local job = KEYS[1]
local id, generation = ARGV[1], ARGV[2]
local fields = redis.call('HMGET', job, 'state', 'queue', 'tenant', 'place')
if fields[1] ~= 'dead' then return 0 end
local sequence = redis.call('INCR', SEQUENCE)
keep(SEQUENCE)
redis.call('ZREM', DEAD, id)
redis.call('DEL', log_key(id))
if generation == '' then
  redis.call('DEL', job)
  return 1
end
redis.call('HSET', job, 'state', 'queued', 'holder', '', 'sequence', sequence, 'enqueued', now_ms(), 'failures', 0,
           'attempt', 0, 'events', 0, 'generation', generation, 'retold', 1)
redis.call('HDEL', job, 'cancelled', 'not_here', 'waits', 'used')
keep(job)
stand_in_line(fields[2], fields[3], sequence, fields[4], true)
ring('submitted', id)
return 1
