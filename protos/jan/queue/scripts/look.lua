-- What waits and what runs, to tell ranks and times from; changes nothing.
-- Returns {now in milliseconds, {queue name, since when it waits, {tenant, virtual time, {places}, ...}, ...},
-- {running job and model, started, what it waits for before that ('' for nothing), its cost, ...}, {model, tokens,
-- milliseconds, ...} of the models in either}.
local waiting, models, paces = {}, {}, {}
local queues = redis.call('ZRANGE', QUEUED_MODELS, 0, -1, 'WITHSCORES')
for i = 1, #queues, 2 do
  local name, lines = queues[i], {}
  local tenants = redis.call('ZRANGE', tenants_key(name), 0, -1, 'WITHSCORES')
  for j = 1, #tenants, 2 do
    lines[#lines + 1] = tenants[j]
    lines[#lines + 1] = tenants[j + 1]
    lines[#lines + 1] = redis.call('ZRANGE', line_key(name, tenants[j]), 0, -1)
  end
  waiting[#waiting + 1] = name
  waiting[#waiting + 1] = queues[i + 1]
  waiting[#waiting + 1] = lines
  models[model_of(name)] = true
end
local members, running = redis.call('ZRANGE', RUNNING, 0, -1, 'WITHSCORES'), {}
for i = 1, #members, 2 do
  local id, model = string.match(members[i], '^(%S+) (.*)$')
  models[model] = true
  running[#running + 1] = members[i]
  running[#running + 1] = members[i + 1]
  local job = redis.call('HMGET', job_key(id), 'waits', 'cost')
  running[#running + 1] = job[1] or ''
  running[#running + 1] = job[2] or ''
end
for model in pairs(models) do
  local pace = redis.call('HMGET', PREFIX .. 'queue:pace:' .. model, 'tokens', 'ms')
  paces[#paces + 1] = model
  paces[#paces + 1] = pace[1] or ''
  paces[#paces + 1] = pace[2] or ''
end
return {now_ms(), waiting, running, paces}
