-- Writes down that an attempt to handle a message begins, unless it must not begin now.
--
-- KEYS[1]  the message's record: a hash of begun and failed
-- ARGV[1]  the number of attempts that a message has
-- ARGV[2]  1 if no other message runs in this process whose worker died before, else 0
-- ARGV[3]  lifetime of the record, seconds
-- Returns  {failed, died, begins}: earlier attempts whose handler failed, earlier attempts without an end,
--          and 1 if this one begins, else 0
local begun = tonumber(redis.call('HGET', KEYS[1], 'begun') or 0)
local failed = tonumber(redis.call('HGET', KEYS[1], 'failed') or 0)
local died = math.max(0, begun - failed)
if failed + died >= tonumber(ARGV[1]) or (died > 0 and ARGV[2] == '0') then
  return {failed, died, 0}
end
redis.call('HINCRBY', KEYS[1], 'begun', 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {failed, died, 1}
