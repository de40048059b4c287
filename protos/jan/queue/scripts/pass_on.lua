-- Put a running job back for another host, because this one cannot serve it; the attempt does not count. When every
-- living host has said so, nothing happens but that the reasons are told.
-- KEYS job, leases, hosts
-- ARGV job id, token, host, why it cannot, event of a cancelled end
-- Returns {'released'}, {'ended'}, {'kept'} when somebody else has acted meanwhile, or {'nobody', reason of each host}.
local job, leases, hosts = KEYS[1], KEYS[2], KEYS[3]
local id, token, host, why, cancelled_event = unpack(ARGV)

local fields = redis.call('HMGET', job, 'state', 'holder', 'queue', 'tenant', 'cost', 'weight', 'sequence', 'place',
                          'cancelled', 'not_here', 'since')
if fields[1] ~= 'running' or fields[2] ~= token then return {'kept'} end
local name, tenant = fields[3], fields[4]

local said, reasons, able = cjson.decode(fields[10] or '{}'), {[host] = why}, false
for _, other in ipairs(redis.call('HKEYS', hosts)) do
  if other ~= host then
    reasons[other] = said[other]
    able = able or not said[other]
  end
end
redis.call('HSET', job, 'not_here', cjson.encode(reasons))
if not able and not fields[9] then
  local answer = {'nobody'}
  for _, reason in pairs(reasons) do answer[#answer + 1] = reason end
  return answer
end

redis.call('HDEL', leases, id)
redis.call('ZREM', RUNNING, id .. ' ' .. model_of(name))
if fields[9] then
  charge_used(job)
  end_job(job, id, cancelled_event, ENDED_TTL_SECONDS)
  redis.call('HDEL', job, 'payload')
  return {'ended'}
end
redis.call('HSET', job, 'state', 'queued', 'holder', '')
redis.call('HDEL', job, 'waits')
redis.call('HINCRBY', job, 'attempt', -1)
charge(name, tenant, -fields[5] / fields[6])
stand_in_line(name, tenant, fields[7], fields[8], false, fields[11])
ring('released', id)
return {'released'}
