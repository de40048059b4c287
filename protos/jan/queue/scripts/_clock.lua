-- What the queue knows of time: Redis's own clock, in milliseconds. Tests put a virtual one in its place.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
