-- Tell that an engine host lives and what it has, and forget those that were seen to stand still. Running jobs that
-- Redis's clock has made it forget run no more: they would count in every estimate.
-- KEYS hosts
-- ARGV host, what it tells, then host and value as it was seen of each that stood still
-- Returns every living host and what it told last.
local hosts = KEYS[1]
redis.call('HSET', hosts, ARGV[1], ARGV[2])
for i = 3, #ARGV, 2 do
  if redis.call('HGET', hosts, ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', hosts, ARGV[i]) end
end
keep(hosts)
for _, member in ipairs(redis.call('ZRANGE', RUNNING, 0, -1)) do
  if redis.call('EXISTS', job_key(string.match(member, '^(%S+) '))) == 0 then redis.call('ZREM', RUNNING, member) end
end
return redis.call('HGETALL', hosts)
