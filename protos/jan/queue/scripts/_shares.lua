-- Start-time fair queueing over tenants (Goyal, Vin, Cheng, SIGCOMM 1996), shared by the scripts that move a job.
--
-- Each queue has a line of jobs for each tenant, in order of arrival. A tenant's virtual time is where its next job
-- starts; taking a job moves it on by cost / weight, and what the job really used corrects it. The tenant with the
-- lowest virtual time is next. One that comes back starts no earlier than the queue's virtual now, the start of the
-- job taken last, so nobody saves up turns by staying away.
local function tenants_key(name) return PREFIX .. 'queue:tenants:' .. name end
local function times_key(name) return PREFIX .. 'queue:times:' .. name end
local function line_key(name, tenant) return PREFIX .. 'queue:jobs:' .. name .. ':' .. tenant end
local function job_key(id) return PREFIX .. 'job:' .. id end
local function log_key(id) return PREFIX .. 'log:' .. id end
local function model_of(name) return string.match(name, '^%d+:(.*)$') end

-- A script is one moment.
local moment
local function now()
  moment = moment or now_ms()
  return moment
end

-- Count a key's life anew. One in steady use is told so once in KEPT_SECONDS, not at each step: that is half the price.
local function is_young(key) return redis.call('TTL', key) >= IDLE_TTL_SECONDS end
local function begin_life(key) redis.call('EXPIRE', key, IDLE_TTL_SECONDS + KEPT_SECONDS) end
local function keep(key)
  if not is_young(key) then begin_life(key) end
end

-- A count that was forgotten begins anew, and never below nothing.
local function one_less()
  if redis.call('DECR', WAITING) < 0 then redis.call('DEL', WAITING) end
end

local function virtual_now(name)
  return tonumber(redis.call('ZSCORE', times_key(name), 'now') or '0')
end

-- Move a tenant's virtual time.
local function charge(name, tenant, amount)
  if redis.call('ZADD', tenants_key(name), 'XX', 'INCR', amount, tenant) then return end
  local times = times_key(name)
  if redis.call('ZADD', times, 'XX', 'INCR', amount, 't:' .. tenant) then return end
  redis.call('ZADD', times, virtual_now(name) + amount, 't:' .. tenant)
  keep(times)
end

-- What a job has used that no worker can tell of any more: what was noted at its tries, or what was said of it and the
-- prompt; nothing where no engine was asked.
local function used_of(job)
  local fields = redis.call('HMGET', job, 'used', 'prompt', 'events')
  local said = tonumber(fields[3])
  return math.max(tonumber(fields[1] or '0'), said > 0 and (fields[2] or 0) + said or 0)
end
local function note_used(job, tokens)
  if tokens > used_of(job) then redis.call('HSET', job, 'used', tokens) end
end

-- A job that was taken ends without its worker: its tenant is charged for what it used instead of what it may cost.
local function charge_used(job)
  local fields = redis.call('HMGET', job, 'queue', 'tenant', 'cost', 'weight')
  charge(fields[1], fields[2], (used_of(job) - fields[3]) / fields[4])
end

-- Put a job into its tenant's line. A newly arrived one starts no earlier than the virtual now; one that comes back
-- brings the time since when its queue was passed over as it was taken: a take that came to nothing was no turn.
-- Nothing follows from a line for its tenant or the other way round: when Redis's clock jumps, it may forget one alone.
local function stand_in_line(name, tenant, sequence, place, arrives, since)
  local line, tenants, times = line_key(name, tenant), tenants_key(name), times_key(name)
  if not redis.call('ZSCORE', tenants, tenant) then
    local now = virtual_now(name)
    local time = tonumber(redis.call('ZSCORE', times, 't:' .. tenant) or now)
    if arrives then time = math.max(time, now) end
    redis.call('ZADD', tenants, time, tenant)
    keep(tenants)
    redis.call('ZREM', times, 't:' .. tenant)
  end
  if redis.call('ZADD', line, sequence, place) == 1 and redis.call('INCR', WAITING) == 1 then keep(WAITING) end
  if redis.call('ZADD', QUEUED_MODELS, 'NX', now(), name) == 1 then keep(QUEUED_MODELS) end
  if since then redis.call('ZADD', QUEUED_MODELS, 'LT', since, name) end
  -- The others were kept together with the line, or have begun since.
  if not is_young(line) then keep(line) keep(tenants) keep(WAITING) keep(QUEUED_MODELS) end
end

-- A tenant without jobs keeps his virtual time; a queue without tenants is not looked at.
local function leave(name, tenant, time)
  redis.call('ZADD', times_key(name), time, 't:' .. tenant)
  keep(times_key(name))
  redis.call('ZREM', tenants_key(name), tenant)
end
local function tidy_queue(name)
  if redis.call('EXISTS', tenants_key(name)) == 1 then return end
  redis.call('ZREM', QUEUED_MODELS, name)
  -- Lines that were forgotten are still in the count.
  if redis.call('EXISTS', QUEUED_MODELS) == 0 then redis.call('DEL', WAITING) end
end

-- After a job left a line.
local function tidy_line(name, tenant)
  if redis.call('EXISTS', line_key(name, tenant)) == 0 then
    local time = redis.call('ZSCORE', tenants_key(name), tenant)
    if time then leave(name, tenant, time) end
  end
  tidy_queue(name)
end

-- A tenant's job was taken from his line: his next one, if there is one, starts at this time.
local function move_on(name, tenant, time)
  if redis.call('EXISTS', line_key(name, tenant)) == 1 then
    redis.call('ZADD', tenants_key(name), time, tenant)
  else
    leave(name, tenant, time)
    tidy_queue(name)
  end
end

local function ring(kind, id)
  redis.call('XADD', BELL, 'MAXLEN', '~', BELL_MAX_SIGNALS, '*', kind, id)
  keep(BELL)
end

-- A job or run goes with its log. A clock of Redis that jumps may end one of the two alone, a power cut may take the end
-- of either, and going on would leave a gap that nobody is told of. What the job has used stays charged, and what it did
-- not does not: asked anew, it is charged as any other.
local function forget(holder, leases, id)
  local fields = redis.call('HMGET', holder, 'queue', 'state')
  if fields[1] then redis.call('ZREM', RUNNING, id .. ' ' .. model_of(fields[1])) end
  if fields[1] and fields[2] == 'running' then charge_used(holder) end
  redis.call('DEL', holder, log_key(id))
  redis.call('HDEL', leases, id)
end

-- Write the end of a job that no worker holds. It is a generation of its own behind the one before: should Redis have
-- forgotten what came behind that, who has heard more knows by it.
local function write_end(log, number, event, behind)
  redis.call('XADD', log, number .. '-0', 'g', behind .. '.', 'b', behind, 'p', event, 'e', '1')
end

-- End a job that no worker holds with one last event.
local function end_job(job, id, event, ttl)
  local fields = redis.call('HMGET', job, 'events', 'generation')
  local number, log = tonumber(fields[1]) + 1, log_key(id)
  write_end(log, number, event, fields[2])
  redis.call('HSET', job, 'state', 'ended', 'events', number)
  redis.call('EXPIRE', job, ttl)
  redis.call('EXPIRE', log, ENDED_TTL_SECONDS)
end

-- How long a job of a model takes in milliseconds, and how many run: false when it is not known yet.
local function pace_of(model)
  local pace = redis.call('HMGET', PREFIX .. 'queue:pace:' .. model, 'jobs', 'ms')
  local running = 0
  for _, member in ipairs(redis.call('ZRANGE', RUNNING, 0, -1)) do
    if string.match(member, '^%S+ (.*)$') == model then running = running + 1 end
  end
  if not pace[1] or running == 0 then return false end
  return pace[2] / pace[1] / running
end

-- Whether one more job of a tenant finds room: {'room', waiting of the tenant, waiting in all, milliseconds until all
-- the tenant's have begun}, or {'tenant_full' or 'full', the same three, milliseconds until a place may be free}. What
-- waits is counted without the job; '' stands for a time that is not known. {'room'} where bounds of -1 do not bind.
local function room_for(name, tenant, most_of_tenant, most_in_all)
  if most_of_tenant < 0 and most_in_all < 0 then return {'room'} end
  local names = redis.call('ZRANGE', QUEUED_MODELS, 0, -1)
  local of_tenant, in_all = 0, tonumber(redis.call('GET', WAITING) or '0')
  for _, other in ipairs(names) do of_tenant = of_tenant + redis.call('ZCARD', line_key(other, tenant)) end
  local full_for_tenant = most_of_tenant >= 0 and of_tenant >= most_of_tenant
  if not full_for_tenant and most_in_all >= 0 and in_all >= most_in_all then
    -- Lines that expired unseen are still in the count: count anew before anybody is refused.
    in_all = 0
    for _, other in ipairs(names) do
      for _, neighbour in ipairs(redis.call('ZRANGE', tenants_key(other), 0, -1)) do
        in_all = in_all + redis.call('ZCARD', line_key(other, neighbour))
      end
    end
    redis.call('SET', WAITING, in_all, 'EX', IDLE_TTL_SECONDS)
  end
  local outcome = full_for_tenant and 'tenant_full' or most_in_all >= 0 and in_all >= most_in_all and 'full' or 'room'
  -- Where nothing waits it begins at once: no need to look at all that runs.
  local interval = outcome == 'room' and in_all == 0 and 0 or pace_of(model_of(name))
  local function lasting(places) return interval and tostring(math.ceil(interval * places)) or '' end
  local neighbours = math.max(1, redis.call('ZCARD', tenants_key(name)))
  local all_begun = lasting(neighbours * math.max(1, of_tenant))
  if outcome == 'room' then return {outcome, of_tenant, in_all, all_begun} end
  return {outcome, of_tenant, in_all, all_begun, lasting(full_for_tenant and neighbours or 1)}
end
