-- Enqueue a job once. Start-time fair queueing: a tenant's next job starts at the later of the queue's virtual now
-- and the tenant's last finish, and finishes cost later (Goyal, Vin, Cheng, SIGCOMM 1996).
-- KEYS job, queue, times, queued models, bell
-- ARGV job id, queue name, class, tenant, cost, payload, idle ttl, bell length, generation of the log
-- Returns 1 when enqueued, 0 when the job was known already.
local job, queue, times, models, bell = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, name, class, tenant, cost, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local ttl, bell_length, generation = ARGV[7], ARGV[8], ARGV[9]

if redis.call('EXISTS', job) == 1 then return 0 end

local now = tonumber(redis.call('HGET', times, 'now') or '0')
local last = tonumber(redis.call('HGET', times, 't:' .. tenant) or '0')
local start = math.max(now, last)
local finish = start + cost

redis.call('HSET', job, 'payload', payload, 'queue', name, 'class', class, 'start', start, 'score', finish,
           'state', 'queued', 'attempt', 0, 'failures', 0, 'events', 0,
           'generation', generation)
redis.call('EXPIRE', job, ttl)
redis.call('HSET', times, 't:' .. tenant, finish)
redis.call('EXPIRE', times, ttl)
redis.call('ZADD', queue, finish, id)
redis.call('EXPIRE', queue, ttl)
redis.call('ZADD', models, class, name)
redis.call('EXPIRE', models, ttl)
redis.call('XADD', bell, 'MAXLEN', '~', bell_length, '*', 'submitted', id)
redis.call('EXPIRE', bell, ttl)
return 1
