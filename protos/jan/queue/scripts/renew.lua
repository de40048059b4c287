-- Renew leases: count each up, and say what the worker must know.
-- KEYS leases, then the hash of each held thing
-- ARGV idle ttl, then id and token of each
-- Returns for each 'held', 'cancelled' (go on only to end it) or 'lost' (another holder has it, or it is gone).
local leases, ttl = KEYS[1], ARGV[1]
local answers = {}
for i = 2, #KEYS do
  local id, token = ARGV[2 * i - 2], ARGV[2 * i - 1]
  local fields = redis.call('HMGET', KEYS[i], 'state', 'holder', 'cancelled')
  if fields[1] ~= 'running' or fields[2] ~= token then
    answers[#answers + 1] = 'lost'
  else
    local count = string.match(redis.call('HGET', leases, id) or '', ':(%d+)$') or '0'
    redis.call('HSET', leases, id, token .. ':' .. (tonumber(count) + 1))
    answers[#answers + 1] = fields[3] and 'cancelled' or 'held'
  end
end
redis.call('EXPIRE', leases, ttl)
return answers
