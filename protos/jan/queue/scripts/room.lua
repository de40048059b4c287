-- Whether one more job of a tenant would find room; enqueues nothing.
-- ARGV queue name, tenant, most waiting of one tenant, most waiting in all (-1: no bound)
-- Returns what `room_for` says.
return room_for(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
