-- Enqueue a job once.
-- KEYS job
-- ARGV job id, queue name, tenant, cost, weight, payload, kind, generation of the log, most waiting of one tenant,
--      most waiting in all (-1: no bound)
-- Returns {'added'}, {'known'} or, with nothing changed, {'tenant_full' or 'full', milliseconds until one of them
-- begins; '' when that is not known}.
local job = KEYS[1]
local id, name, tenant, cost, weight, payload, kind, generation = unpack(ARGV, 1, 8)
local most_of_tenant, most_in_all = tonumber(ARGV[9]), tonumber(ARGV[10])

if redis.call('EXISTS', job) == 1 then return {'known'} end

local function refusal(reason, places)
  local interval = pace_of(model_of(name))
  return {reason, interval and tostring(math.ceil(interval * places)) or ''}
end
local names = redis.call('ZRANGE', QUEUED_MODELS, 0, -1)
if most_of_tenant >= 0 then
  local waiting = 0
  for _, other in ipairs(names) do waiting = waiting + redis.call('ZCARD', line_key(other, tenant)) end
  if waiting >= most_of_tenant then
    return refusal('tenant_full', math.max(1, redis.call('ZCARD', tenants_key(name))))
  end
end
if most_in_all >= 0 and tonumber(redis.call('GET', WAITING) or '0') >= most_in_all then
  -- Lines that expired unseen are still in the count: count anew before anybody is refused.
  local waiting = 0
  for _, other in ipairs(names) do
    for _, neighbour in ipairs(redis.call('ZRANGE', tenants_key(other), 0, -1)) do
      waiting = waiting + redis.call('ZCARD', line_key(other, neighbour))
    end
  end
  redis.call('SET', WAITING, waiting, 'EX', IDLE_TTL_SECONDS)
  if waiting >= most_in_all then return refusal('full', 1) end
end

local charged = cost / weight
local sequence = redis.call('INCR', SEQUENCE)
keep(SEQUENCE)
local place = string.format('%.17g %s', charged, id)
redis.call('HSET', job, 'payload', payload, 'kind', kind, 'queue', name, 'tenant', tenant, 'cost', cost,
           'weight', weight, 'sequence', sequence, 'place', place, 'enqueued', now_ms(), 'state', 'queued',
           'attempt', 0, 'failures', 0, 'events', 0, 'generation', generation)
keep(job)
stand_in_line(name, tenant, sequence, place, true)
ring('submitted', id)
return {'added'}
