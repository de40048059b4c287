-- Enqueue a job once. Start-time fair queueing: a tenant's next job starts at the later of the queue's virtual now
-- and the tenant's last finish, and finishes cost later (Goyal, Vin, Cheng, SIGCOMM 1996).
-- KEYS job, queue, times, queued models, bell, waiting
-- ARGV job id, queue name, class, tenant, cost, payload, idle ttl, bell length, generation of the log,
--      most waiting of one tenant, most waiting in all (-1: no bound)
-- Returns 'added', 'known', or, with nothing changed, 'tenant_full' or 'full'.
local job, queue, times, models, bell, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, name, class, tenant, cost, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local ttl, bell_length, generation = ARGV[7], ARGV[8], ARGV[9]
local most_of_tenant, most_in_all = tonumber(ARGV[10]), tonumber(ARGV[11])

if redis.call('EXISTS', job) == 1 then return 'known' end

local counts = redis.call('HMGET', waiting, 'all', 't:' .. tenant)
if most_of_tenant >= 0 and tonumber(counts[2] or '0') >= most_of_tenant then return 'tenant_full' end
if most_in_all >= 0 and tonumber(counts[1] or '0') >= most_in_all then return 'full' end
redis.call('HINCRBY', waiting, 'all', 1)
redis.call('HINCRBY', waiting, 't:' .. tenant, 1)
redis.call('EXPIRE', waiting, ttl)

local now = tonumber(redis.call('HGET', times, 'now') or '0')
local last = tonumber(redis.call('HGET', times, 't:' .. tenant) or '0')
local start = math.max(now, last)
local finish = start + cost

redis.call('HSET', job, 'payload', payload, 'queue', name, 'class', class, 'start', start, 'score', finish,
           'state', 'queued', 'attempt', 0, 'failures', 0, 'events', 0,
           'generation', generation, 'tenant', tenant)
redis.call('EXPIRE', job, ttl)
redis.call('HSET', times, 't:' .. tenant, finish)
redis.call('EXPIRE', times, ttl)
redis.call('ZADD', queue, finish, id)
redis.call('EXPIRE', queue, ttl)
redis.call('ZADD', models, class, name)
redis.call('EXPIRE', models, ttl)
redis.call('XADD', bell, 'MAXLEN', '~', bell_length, '*', 'submitted', id)
redis.call('EXPIRE', bell, ttl)
return 'added'
