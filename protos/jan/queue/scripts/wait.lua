-- Note what a job in a worker's hands waits for before it can be worked on; or that it waits no more, and begins now.
-- KEYS job
-- ARGV job id, token, what it waits for ('' for nothing any more)
-- Returns 1, or 0 when somebody else holds it.
local job = KEYS[1]
local id, token, what = unpack(ARGV)
local fields = redis.call('HMGET', job, 'state', 'holder', 'queue')
if fields[1] ~= 'running' or fields[2] ~= token then return 0 end
if what ~= '' then
  redis.call('HSET', job, 'waits', what)
elseif redis.call('HDEL', job, 'waits') == 1 then
  redis.call('HSET', job, 'started', now_ms())
  redis.call('ZADD', RUNNING, 'XX', now_ms(), id .. ' ' .. model_of(fields[3]))
end
return 1
