-- Whether one more job of a tenant would find room; enqueues nothing.
-- ARGV queue name, tenant, most waiting of one tenant, most waiting in all (-1: no bound)
-- Returns {'room'}, or what submit.lua returns for a refusal.
return refusal(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])) or {'room'}
