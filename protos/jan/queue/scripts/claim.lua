-- Begin a request under its record, or find what is known of it. The record of a request that nobody answers any more is
-- taken over: its gateway's lease is gone, since somebody saw it stand still, or it still stands as the asker saw it.
-- KEYS record, the gateways' leases
-- ARGV the new record, its life time in seconds, then for a record to be taken over: as it was found, its gateway's
--      token, and that one's lease where it was seen to stand still ('' when it was not)
-- Returns nil when the new record is there, else what is.
local record, leases = KEYS[1], KEYS[2]
local new, ttl, before, gateway, seen = unpack(ARGV)
local found = redis.call('GET', record)
if found then
  if found ~= before then return found end
  local lease = redis.call('HGET', leases, gateway)
  if lease and lease ~= seen then return found end
end
redis.call('SET', record, new, 'EX', ttl)
return nil
