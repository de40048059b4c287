-- Keep, replace or remove the record of a request, for whoever answers it only; may be repeated.
-- KEYS record
-- ARGV the answerer's token, life time in seconds, then the new value; none keeps the value, an empty one removes it
-- Returns 1, or 0 when the record is somebody else's or gone.
local record, token, ttl, value = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local kept = redis.call('GET', record)
if not kept or string.sub(kept, 1, #token) ~= token then return 0 end
if value == '' then
  redis.call('DEL', record)
elseif value then
  redis.call('SET', record, value, 'EX', ttl)
elseif redis.call('TTL', record) < tonumber(ttl) then  -- an answer that was kept meanwhile lives longer already
  redis.call('EXPIRE', record, ttl)
end
return 1
