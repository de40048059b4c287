-- Whether a job is known. Of a known one, what a clock of Redis that jumped made it forget is put right: a waiting job
-- that stands in no line would never be taken, and a running one without a lease would never be missed.
-- KEYS job, leases
-- ARGV job id
-- Returns 1, or 0 when the job is forgotten.
local job, leases, id = KEYS[1], KEYS[2], ARGV[1]
local fields = redis.call('HMGET', job, 'state', 'queue', 'tenant', 'place', 'sequence', 'holder')
local state, name, tenant, place, sequence, holder = unpack(fields, 1, 6)
if not state then return 0 end
if state == 'queued' then
  local stands = redis.call('ZSCORE', line_key(name, tenant), place) and redis.call('ZSCORE', tenants_key(name), tenant)
  if not stands or not redis.call('ZSCORE', QUEUED_MODELS, name) then
    stand_in_line(name, tenant, sequence, place, true)
    ring('submitted', id)
  end
elseif state == 'running' and redis.call('HSETNX', leases, id, holder .. ':0') == 1 then
  keep(leases)
end
return 1
