-- Let go of a run at once, as a gateway does that stops, so that another need not wait for the lease to stall.
-- KEYS leases
-- ARGV run id, token
local leases, id, token = KEYS[1], ARGV[1], ARGV[2]
local lease = redis.call('HGET', leases, id)
if lease and string.match(lease, '^(.*):') == token then redis.call('HDEL', leases, id) end
return redis.status_reply('OK')
