-- Enqueue a job once.
-- KEYS job
-- ARGV job id, queue name, tenant, cost, weight, payload, kind, generation of the log, most waiting of one tenant,
--      most waiting in all (-1: no bound), the gateway whose client must stay (empty: none), how many of the
--      cost are the prompt's
-- Returns {'known'}, or what `room_for` says; nothing changed unless that is 'room'.
local job = KEYS[1]
local id, name, tenant, cost, weight, payload, kind, generation = unpack(ARGV, 1, 8)
local most_of_tenant, most_in_all = tonumber(ARGV[9]), tonumber(ARGV[10])

if redis.call('EXISTS', job) == 1 then return {'known'} end

local room = room_for(name, tenant, most_of_tenant, most_in_all)
if room[1] ~= 'room' then return room end

local charged = cost / weight
local sequence = redis.call('INCR', SEQUENCE)
keep(SEQUENCE)
local place = string.format('%.17g %s', charged, id)
redis.call('HSET', job, 'payload', payload, 'kind', kind, 'queue', name, 'tenant', tenant, 'cost', cost,
           'weight', weight, 'sequence', sequence, 'place', place, 'enqueued', now(), 'state', 'queued',
           'attempt', 0, 'failures', 0, 'events', 0, 'generation', generation, 'attended', ARGV[11], 'prompt', ARGV[12])
begin_life(job)
stand_in_line(name, tenant, sequence, place, true)
-- A worker that found nothing sleeps; one that has not will look again by itself.
if redis.call('DEL', SLEEPERS) == 1 then ring('submitted', id) end
return room
