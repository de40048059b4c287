-- Begin a request under its record, find what is known of it, or go on with it: the record that is there already lives
-- on. The record of a request that nobody answers any more is taken over: of its gateway's lease the asker has seen for
-- the lease time that it stood still or was gone, and it still is so.
-- KEYS record, the gateways' leases
-- ARGV the new record, its life time in seconds, then for a record to be taken over: as it was found, its gateway's
--      token, and that one's lease where it was seen to stand still ('' when it was gone from the first)
-- Returns nil when the new record is there, else what is.
local record, leases = KEYS[1], KEYS[2]
local new, ttl, before, gateway, seen = unpack(ARGV)
local found = redis.call('GET', record)
if found == new then
  redis.call('EXPIRE', record, ttl)
  return nil
elseif found then
  if found ~= before then return found end
  local lease = redis.call('HGET', leases, gateway)
  if lease and lease ~= seen then return found end
end
redis.call('SET', record, new, 'EX', ttl)
return nil
