-- Take the next job: the most urgent class first, where a class that was passed over for its time counts as urgent;
-- in it the queue that waited longest, in that the tenant with the lowest virtual time. Queues of models that the
-- worker has no room for are passed over. A job that has one failure left is taken only for a model with nothing in
-- the worker's hands; until then it keeps its place, and what would come after it in this model waits with it.
-- Asked again under the same token, as after a lost reply, it answers the same job.
-- KEYS leases
-- ARGV the taker's token, how many failures make a job wait for that, then for full models, models in hand and models
--      that other hosts have: their number and their ids
-- Returns {job id, payload, attempt, events published so far, failures} or nil when nothing waits.
local leases, token, suspect = KEYS[1], ARGV[1], tonumber(ARGV[2])
local next_argument = 3
local function models()
  local last, found = next_argument + ARGV[next_argument], {}
  for i = next_argument + 1, last do found[ARGV[i]] = true end
  next_argument = last + 1
  return found
end
local full, in_hand, elsewhere = models(), models(), models()
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

-- The next job of a queue, with its tenant charged; nil when the queue is empty, false when its turn must wait.
local function pop(name)
  local tenants, times = tenants_key(name), times_key(name)
  while true do
    local first = redis.call('ZRANGE', tenants, 0, 0, 'WITHSCORES')
    local tenant, start = first[1], first[2]
    if not tenant then return nil end
    local line = line_key(name, tenant)
    local place, sequence = unpack(redis.call('ZPOPMIN', line))
    if place then
      local charged, id = string.match(place, '^(%S+) (.*)$')
      local fields = redis.call('HMGET', job_key(id), 'payload', 'state', 'events', 'attempt', 'failures')
      local stands, failures = fields[1] and fields[2] == 'queued', tonumber(fields[5])
      if stands and failures >= suspect and in_hand[model_of(name)] then
        redis.call('ZADD', line, sequence, place)
        keep(line)
        return false
      end
      one_less()
      if stands then
        local virtual = redis.call('ZSCORE', times, 'now')
        if not virtual or tonumber(virtual) < tonumber(start) then
          redis.call('ZADD', times, start, 'now')
          -- Who is behind the virtual now starts there like a newcomer: nothing need be kept of him.
          redis.call('ZREMRANGEBYSCORE', times, '-inf', '(' .. start)
          keep(times)
        end
        move_on(name, tenant, start + charged)
        return id, fields[1], tonumber(fields[3]), fields[4] + 1, failures
      end
    end
    tidy_line(name, tenant)
  end
end

-- What this token has taken already and still holds.
local before = redis.call('GET', taken_key(token))
if before then
  local fields = redis.call('HMGET', job_key(before), 'payload', 'attempt', 'events', 'state', 'holder',
                            'failures')
  if fields[1] and fields[4] == 'running' and fields[5] == token then
    return {before, fields[1], tonumber(fields[2]), tonumber(fields[3]), tonumber(fields[6])}
  end
end

for _, queue in ipairs(candidates()) do
  local model = model_of(queue.name)
  local id, payload, events, attempt, failures
  if not full[model] then id, payload, events, attempt, failures = pop(queue.name) end
  if id then
    local job = job_key(id)
    redis.call('ZADD', QUEUED_MODELS, 'XX', now(), queue.name)
    redis.call('HSET', job, 'state', 'running', 'holder', token, 'started', now(), 'since', queue.since,
               'attempt', attempt)
    redis.call('HSET', leases, id, token .. ':0')
    redis.call('SET', taken_key(token), id, 'EX', TAKEN_TTL_SECONDS)
    redis.call('ZADD', RUNNING, now(), id .. ' ' .. model)
    keep(job) keep(leases) keep(RUNNING)
    return {id, payload, attempt, events, failures}
  elseif id == false then
    full[model] = true
  elseif not full[model] then
    redis.call('ZREM', QUEUED_MODELS, queue.name)
  end
end
redis.call('SET', SLEEPERS, 1, 'EX', IDLE_TTL_SECONDS)
return nil
