-- Take the next job: the most urgent class first, where a class that was passed over for its time counts as urgent;
-- in it the queue that waited longest, in that the tenant with the lowest virtual time. Queues of models that the
-- worker has no room for are passed over.
-- Asked again under the same token, as after a lost reply, it answers the same job.
-- KEYS leases
-- ARGV the taker's token, number of full models, their ids, then the ids of models that other hosts have
-- Returns {job id, payload, attempt, events published so far} or nil when nothing waits.
local leases, token = KEYS[1], ARGV[1]
local full, elsewhere = {}, {}
for i = 3, #ARGV do (i < 3 + ARGV[2] and full or elsewhere)[ARGV[i]] = true end
local patience = {['2'] = NORMAL_AGES_SECONDS * 1000, ['3'] = BATCH_AGES_SECONDS * 1000}

-- Whether the next job of a queue has waited so long for a host that has its model that any host may take it.
local function waits_long(name)
  local tenant = redis.call('ZRANGE', tenants_key(name), 0, 0)[1]
  local place = tenant and redis.call('ZRANGE', line_key(name, tenant), 0, 0)[1]
  local since = place and redis.call('HGET', job_key(string.match(place, '^%S+ (.*)$')), 'enqueued')
  return not since or now() < tonumber(since) or now() - since >= ELSEWHERE_SECONDS * 1000
end

local function taken_key(token) return PREFIX .. 'taken:' .. token end

-- The queues that may be taken from, the first one first.
local function candidates()
  local found = {}
  local queues = redis.call('ZRANGE', QUEUED_MODELS, 0, -1, 'WITHSCORES')
  for i = 1, #queues, 2 do
    local name, since = queues[i], tonumber(queues[i + 1])
    local class = string.match(name, '^%d+')
    local model = model_of(name)
    if not full[model] and (not elsewhere[model] or waits_long(name)) then
      if since > now() then  -- Redis's clock went back: the wait begins anew
        since = now()
        redis.call('ZADD', QUEUED_MODELS, since, name)
      end
      local rank = tonumber(class)
      if patience[class] and now() - since >= patience[class] then rank = 1 end
      found[#found + 1] = {rank = rank, since = since, name = name}
    end
  end
  table.sort(found, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    if a.since ~= b.since then return a.since < b.since end
    return a.name < b.name
  end)
  return found
end

-- The next job of a queue, with its tenant charged; nil when the queue is empty.
local function pop(name)
  local tenants, times = tenants_key(name), times_key(name)
  while true do
    local first = redis.call('ZRANGE', tenants, 0, 0, 'WITHSCORES')
    local tenant, start = first[1], first[2]
    if not tenant then return nil end
    local place = redis.call('ZPOPMIN', line_key(name, tenant))[1]
    if place then
      one_less()
      local charged, id = string.match(place, '^(%S+) (.*)$')
      local fields = redis.call('HMGET', job_key(id), 'payload', 'state', 'events', 'attempt')
      if fields[1] and fields[2] == 'queued' then
        local virtual = redis.call('ZSCORE', times, 'now')
        if not virtual or tonumber(virtual) < tonumber(start) then
          redis.call('ZADD', times, start, 'now')
          -- Who is behind the virtual now starts there like a newcomer: nothing need be kept of him.
          redis.call('ZREMRANGEBYSCORE', times, '-inf', '(' .. start)
          keep(times)
        end
        move_on(name, tenant, start + charged)
        return id, fields[1], tonumber(fields[3]), fields[4] + 1
      end
    end
    tidy_line(name, tenant)
  end
end

-- What this token has taken already and still holds.
local before = redis.call('GET', taken_key(token))
if before then
  local fields = redis.call('HMGET', job_key(before), 'payload', 'attempt', 'events', 'state', 'holder')
  if fields[1] and fields[4] == 'running' and fields[5] == token then
    return {before, fields[1], tonumber(fields[2]), tonumber(fields[3])}
  end
end

for _, queue in ipairs(candidates()) do
  local id, payload, events, attempt = pop(queue.name)
  if id then
    local job = job_key(id)
    redis.call('ZADD', QUEUED_MODELS, 'XX', now(), queue.name)
    redis.call('HSET', job, 'state', 'running', 'holder', token, 'started', now(), 'since', queue.since,
               'attempt', attempt)
    redis.call('HSET', leases, id, token .. ':0')
    redis.call('SET', taken_key(token), id, 'EX', TAKEN_TTL_SECONDS)
    redis.call('ZADD', RUNNING, now(), id .. ' ' .. model_of(queue.name))
    keep(job) keep(leases) keep(RUNNING)
    return {id, payload, attempt, events}
  end
  redis.call('ZREM', QUEUED_MODELS, queue.name)
end
redis.call('SET', SLEEPERS, 1, 'EX', IDLE_TTL_SECONDS)
return nil
