-- Append numbered events to logs, for the holders of their leases only. Repeating a call changes nothing, so a client
-- library may retry it after a lost reply. Each log is a matter of its own: what is refused of one touches no other.
-- KEYS for each log: holder hash, log, leases
-- ARGV for each log: id, token, number of the first event, '1' when the last one ends the log, or '2' when it ends it
--      before the answer is whole, tokens that an ended job really used ('' when that is not known), how many payloads,
--      the payloads
-- Returns for each log the number of its last event; -1 when the token does not hold it, or when Redis forgot the log or
-- what stood last in it: the job or run is forgotten with it then; or what went wrong, in words.
local PAYLOADS = 6  -- arguments of a log in front of its payloads

-- A job has ended: charge its tenant for what it really used, and remember how long it took.
local function settle(holder, id, is_whole, spent)
  local job = redis.call('HMGET', holder, 'queue', 'tenant', 'cost', 'weight', 'started', 'cancelled', 'used')
  local name = job[1]
  if not name then return end  -- a run's log
  if spent then charge(name, job[2], (math.max(spent, job[7] or 0) - job[3]) / job[4]) end
  local pace, took = PREFIX .. 'queue:pace:' .. model_of(name), now_ms() - job[5]
  local sums = redis.call('HMGET', pace, 'jobs', 'ms', 'tokens')
  -- What failed or was cancelled took less than it takes, or a load's time; and Redis's clock may have gone back.
  if took >= 0 and spent and is_whole and not job[6] then
    redis.call('HSET', pace, 'jobs', (sums[1] or 0) * PACE_MEMORY + 1, 'ms', (sums[2] or 0) * PACE_MEMORY + took,
               'tokens', (sums[3] or 0) * PACE_MEMORY + job[3])
    keep(pace)
  end
  redis.call('ZREM', RUNNING, id .. ' ' .. model_of(name))
end

-- Add one event; false when the log should be there and is not.
local function add(log, number, ...)
  if number == 1 then return redis.call('XADD', log, 'MAXLEN', '~', LOG_MAX_EVENTS, '1-0', ...) end
  return redis.call('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', LOG_MAX_EVENTS, number .. '-0', ...)
end

-- Append ARGV[from] to ARGV[to], the first of which has the number `first`.
local function append(holder, log, leases, id, token, first, ending, spent, from, to)
  local ends = ending ~= '0'
  local fields = redis.call('HMGET', holder, 'state', 'holder', 'events', 'generation')
  if fields[2] ~= token then return -1 end
  local before, last = tonumber(fields[3]), first + to - from
  if fields[1] ~= 'running' then
    -- The same holder ended it before: a retry of the last call.
    if fields[1] == 'ended' and last <= before then return before end
    return -1
  end

  -- A Redis that came back without its last second does not know what was published then.
  if first > before + 1 then
    forget(holder, leases, id)
    return -1
  end
  if before == 0 then redis.call('DEL', log) end
  local follows = before > 0 and fields[4] ~= token and fields[4]
  for number = math.max(first, before + 1), last do
    local marks = {}
    if follows then marks = {'b', follows} end
    if ends and number == last then marks[#marks + 1] = 'e' marks[#marks + 1] = '1' end
    if not add(log, number, 'g', token, 'p', ARGV[from + number - first], unpack(marks)) then
      forget(holder, leases, id)
      return -1
    end
    follows = false
  end

  local count = math.max(before, last)
  redis.call('HSET', holder, 'events', count, 'generation', token)
  if ends then
    settle(holder, id, ending == '1', spent)
    redis.call('HSET', holder, 'state', 'ended')
    redis.call('HDEL', holder, 'payload', 'waits')
    redis.call('HDEL', leases, id)
    redis.call('EXPIRE', holder, ENDED_TTL_SECONDS)
    redis.call('EXPIRE', log, ENDED_TTL_SECONDS)
  elseif before == 0 or math.floor(before / KEPT_EVENTS) < math.floor(count / KEPT_EVENTS) then
    redis.call('EXPIRE', log, IDLE_TTL_SECONDS)
  end
  return count
end

local answers, at = {}, 1
for key = 1, #KEYS, 3 do
  local id, token, first, ending = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local spent, from = tonumber(ARGV[at + 4]), at + PAYLOADS
  at = from + tonumber(ARGV[at + 5])
  local is_done, answer = pcall(
    append, KEYS[key], KEYS[key + 1], KEYS[key + 2], id, token, first, ending, spent, from, at - 1)
  answers[#answers + 1] = is_done and answer or (type(answer) == 'table' and answer.err or tostring(answer))
end
return answers
