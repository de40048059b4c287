-- Take the next job: the most urgent class first, then the lowest virtual finish time; queues of models that the
-- worker has no room for are passed over.
-- KEYS queued models, leases, waiting
-- ARGV key prefix of jobs, of queues, of times, idle ttl, the taker's token, then the full models' ids
-- Returns {job id, payload, attempt, events published so far} or nil when nothing waits.
local models, leases, waiting = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, queue_prefix, times_prefix, ttl, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local full = {}
for i = 6, #ARGV do full[ARGV[i]] = true end

for _, name in ipairs(redis.call('ZRANGE', models, 0, -1)) do
  local model = string.match(name, '^%d+:(.*)$')
  if not full[model] then
    local queue, times = queue_prefix .. name, times_prefix .. name
    while true do
      local popped = redis.call('ZPOPMIN', queue)
      local id = popped[1]
      if not id then
        -- The end of a busy period: virtual time begins anew.
        redis.call('ZREM', models, name)
        redis.call('DEL', times)
        break
      end
      local job = job_prefix .. id
      local fields = redis.call('HMGET', job, 'payload', 'start', 'events', 'state', 'tenant')
      if fields[1] and fields[4] == 'queued' then
        local now = math.max(tonumber(redis.call('HGET', times, 'now') or '0'), tonumber(fields[2]))
        redis.call('HINCRBY', waiting, 'all', -1)
        if redis.call('HINCRBY', waiting, 't:' .. fields[5], -1) == 0 then redis.call('HDEL', waiting, 't:' .. fields[5]) end
        redis.call('HSET', times, 'now', now)
        redis.call('EXPIRE', times, ttl)
        redis.call('HSET', job, 'state', 'running', 'holder', token)
        local attempt = redis.call('HINCRBY', job, 'attempt', 1)
        redis.call('HSET', leases, id, token .. ':0')
        redis.call('EXPIRE', leases, ttl)
        return {id, fields[1], attempt, tonumber(fields[3])}
      end
    end
  end
end
return nil
