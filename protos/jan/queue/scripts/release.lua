-- Put a running job back at its old place, either by its worker (lease is empty) or because its lease stood still.
-- A job that was cancelled meanwhile is ended instead, and one that lost its worker or its engine too often is a dead
-- letter: it ends for its client, and stays with what it asked until an admin looks at it.
-- KEYS job, leases
-- ARGV job id, token, lease as it was seen ('' by the worker itself), what counts: 'nothing', the 'attempt', or a
--      'loss' of its worker or engine too, how many of those are too many, event of a failed end, of a cancelled end,
--      tokens that were used of it, at this try and before ('' where its worker cannot tell any more)
-- Returns 'released', 'ended' or 'kept' when somebody else has acted meanwhile.
local job, leases = KEYS[1], KEYS[2]
local id, token, seen, counts, most, failed_event, cancelled_event, spent = unpack(ARGV)

if seen ~= '' and redis.call('HGET', leases, id) ~= seen then return 'kept' end
local fields = redis.call('HMGET', job, 'state', 'holder', 'queue', 'tenant', 'cost', 'weight', 'sequence', 'place',
                          'cancelled', 'since', 'waits', 'prompt', 'events')
if fields[1] ~= 'running' or fields[2] ~= token then
  if seen ~= '' then redis.call('HDEL', leases, id) end
  return 'kept'
end
local name, tenant = fields[3], fields[4]
redis.call('HDEL', leases, id)
redis.call('ZREM', RUNNING, id .. ' ' .. model_of(name))
-- A worker that is gone had asked an engine, unless it waited for the model.
note_used(job, tonumber(spent) or (fields[11] and 0 or (fields[12] or 0) + fields[13]))

if fields[9] then
  charge_used(job)
  end_job(job, id, cancelled_event, ENDED_TTL_SECONDS)
  redis.call('HDEL', job, 'payload')
  return 'ended'
elseif counts == 'loss' and redis.call('HINCRBY', job, 'failures', 1) >= tonumber(most) then
  charge_used(job)
  end_job(job, id, failed_event, DEAD_TTL_SECONDS)
  redis.call('HSET', job, 'state', 'dead')
  redis.call('ZADD', DEAD, now_ms(), id)
  redis.call('EXPIRE', DEAD, DEAD_TTL_SECONDS)
  -- The oldest give way.
  for _, old in ipairs(redis.call('ZRANGE', DEAD, 0, -DEAD_MAX_JOBS - 1)) do
    redis.call('ZREM', DEAD, old)
    redis.call('DEL', job_key(old))
  end
  return 'ended'
end

redis.call('HSET', job, 'state', 'queued', 'holder', '')
redis.call('HDEL', job, 'waits')
if counts == 'nothing' then redis.call('HINCRBY', job, 'attempt', -1) end
charge(name, tenant, -fields[5] / fields[6])
stand_in_line(name, tenant, fields[7], fields[8], false, fields[10])
ring('released', id)
return 'released'
