-- Writes down that an attempt to handle a message begins, unless it must not begin now. Asked again for a delivery that
-- has begun, because an answer was lost, it answers the same.
--
-- KEYS[1]  the message's record: a hash with a field for each attempt, named by its delivery: begun or failed; and the
--          field decision, once it is decided that the message becomes a dead letter
-- ARGV[1]  the name of the delivery
-- ARGV[2]  the number of attempts that a message has
-- ARGV[3]  1 if no other message runs in this process whose worker died before, else 0
-- ARGV[4]  lifetime of the record, seconds
-- ARGV[5]  earlier attempts that the caller knows of; those that the record lacks have failed while Redis was away
-- Returns  {failed, died, begins, decision}: earlier attempts whose handler failed, earlier attempts without an end,
--          1 if this one begins, else 0; and the decision, '' if there is none
local failed, died, decision = 0, 0, ''
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] == 'decision' then
    decision = fields[i + 1]
  elseif fields[i + 1] == 'failed' then
    failed = failed + 1
  elseif fields[i] ~= ARGV[1] then
    died = died + 1
  end
end
failed = math.max(failed, tonumber(ARGV[5]) - died)
if decision ~= '' or failed + died >= tonumber(ARGV[2]) or (died > 0 and ARGV[3] == '0') then
  return {failed, died, 0, decision}
end
-- A failure that Redis has got before its beginning stays: both may have waited in a Redis that hung.
redis.call('HSETNX', KEYS[1], ARGV[1], 'begun')
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {failed, died, 1, ''}
