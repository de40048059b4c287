-- Keep, replace or remove the record of a request, for whoever answers it only; may be repeated. One that Redis forgot
-- is kept as well. What is kept is bounded in bytes, for each holder and in all: the oldest answers give way.
-- KEYS record
-- ARGV the answerer's token, life time in seconds, then the new value; an empty one removes the record
-- Returns 1, or 0 when the record is somebody else's.
local record, token, ttl, value = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local FAMILY = PREFIX .. 'recorded:'
local IN_ALL = 'all'
local OVERHEAD_BYTES = 512  -- what Redis needs for a record beside its value

local function holder_of(name) return string.match(name, '^[^.]*') end
local function names_key(holder) return RECORDED_NAMES .. ':' .. holder end

local function count(sum, bytes)
  if redis.call('HINCRBY', RECORDED_BYTES, sum, bytes) <= 0 then redis.call('HDEL', RECORDED_BYTES, sum) end
end

-- Count a record no more.
local function forget(name)
  local bytes = redis.call('HGET', RECORDED_BYTES, name)
  if not bytes then return end
  local holder = holder_of(name)
  redis.call('HDEL', RECORDED_BYTES, name)
  redis.call('ZREM', RECORDED_NAMES, name)
  redis.call('ZREM', names_key(holder), name)
  count('of ' .. holder, -bytes)
  count(IN_ALL, -bytes)
end

-- Remove the oldest records until they are within a bound.
local function bound(names, sum, most)
  while tonumber(redis.call('HGET', RECORDED_BYTES, sum) or '0') > most do
    local oldest = redis.call('ZRANGE', names, 0, 0)[1]
    if not oldest then return end
    redis.call('DEL', FAMILY .. oldest)
    forget(oldest)
  end
end

local function remember(name, bytes)
  local holder, now = holder_of(name), now_ms()
  for _, expired in ipairs(redis.call('ZRANGEBYSCORE', RECORDED_NAMES, '-inf', now - IDLE_TTL_SECONDS * 1000)) do
    forget(expired)
  end
  redis.call('HSET', RECORDED_BYTES, name, bytes)
  redis.call('ZADD', RECORDED_NAMES, now, name)
  redis.call('ZADD', names_key(holder), now, name)
  count('of ' .. holder, bytes)
  count(IN_ALL, bytes)
  bound(names_key(holder), 'of ' .. holder, RECORDED_OF_HOLDER_MAX_BYTES)
  bound(RECORDED_NAMES, IN_ALL, RECORDED_IN_ALL_MAX_BYTES)
  keep(RECORDED_BYTES) keep(RECORDED_NAMES) keep(names_key(holder))
end

local kept = redis.call('GET', record)
if kept and string.sub(kept, 1, #token) ~= token then return 0 end
local name = string.sub(record, #FAMILY + 1)
forget(name)
if value == '' then
  redis.call('DEL', record)
else
  redis.call('SET', record, value, 'EX', ttl)
  remember(name, #value + OVERHEAD_BYTES)
end
return 1
