-- Cancel a job. A waiting one ends at once with the given event; a running one is marked and its worker told. One that
-- is not known may be on its way still: with a generation it is noted as ended, so that its submit finds it and adds
-- nothing; or Redis forgot it, and a worker has it in hand, who is told too.
-- KEYS job
-- ARGV job id, last event, tenant ('' for any), generation of the log of one that is not known ('' leaves it unknown)
-- Returns 'cancelled', 'cancelling', 'ended' when it was over, or 'unknown': also when it is another tenant's.
local job = KEYS[1]
local id, last_event, tenant, generation = unpack(ARGV)

local fields = redis.call('HMGET', job, 'state', 'queue', 'tenant', 'place', 'weight')
if not fields[1] and generation ~= '' then
  redis.call('DEL', log_key(id))
  redis.call('HSET', job, 'events', 0, 'generation', generation, 'cancelled', '1')
  end_job(job, id, last_event, ENDED_TTL_SECONDS)
  ring('cancelled', id)
  return 'unknown'
end
if not fields[1] or (tenant ~= '' and fields[3] ~= tenant) then return 'unknown' end
if fields[1] == 'queued' then
  if redis.call('ZREM', line_key(fields[2], fields[3]), fields[4]) == 1 then one_less() end
  tidy_line(fields[2], fields[3])
  -- One that was put back into its line costs nothing there.
  local used = used_of(job)
  if used > 0 then charge(fields[2], fields[3], used / fields[5]) end
  end_job(job, id, last_event, ENDED_TTL_SECONDS)
  redis.call('HDEL', job, 'payload')
  return 'cancelled'
elseif fields[1] == 'running' then
  redis.call('HSET', job, 'cancelled', '1')
  ring('cancelled', id)
  return 'cancelling'
end
return 'ended'
