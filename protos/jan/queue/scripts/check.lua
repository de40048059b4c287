-- Whether a job is known. Of a known one, what a clock of Redis that jumped made it forget is put right: a waiting job
-- that stands in no line would never be taken, and a running one without a lease would never be missed. One whose log
-- lost a part is forgotten, as nobody could read it to its end; a dead letter stays, and is told to have failed.
-- KEYS job, leases
-- ARGV job id, event of a failed end
-- Returns 1, or 0 when the job is forgotten.
local job, leases, id, failed_event = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local fields = redis.call('HMGET', job, 'state', 'queue', 'tenant', 'place', 'sequence', 'holder', 'events',
                          'generation')
local state, name, tenant, place, sequence, holder, events, generation = unpack(fields, 1, 8)
local log = log_key(id)

-- Whether the log holds all that was said, the oldest events of a long one aside.
local function is_whole()
  if events == '0' then return true end
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  return first and string.match(first[1], '^%d+') + redis.call('XLEN', log) - 1 == tonumber(events)
end

if not state then return 0 end
if state == 'queued' then
  local stands = redis.call('ZSCORE', line_key(name, tenant), place) and redis.call('ZSCORE', tenants_key(name), tenant)
  if not stands or not redis.call('ZSCORE', QUEUED_MODELS, name) then
    stand_in_line(name, tenant, sequence, place, true)
    ring('submitted', id)
  end
elseif state == 'dead' then
  if not is_whole() then
    redis.call('DEL', log)
    write_end(log, events, failed_event, generation)
    redis.call('EXPIRE', log, ENDED_TTL_SECONDS)
  end
elseif not is_whole() then
  forget(job, leases, id)
  return 0
elseif state == 'running' and redis.call('HSETNX', leases, id, holder .. ':0') == 1 then
  keep(leases)
end
return 1
