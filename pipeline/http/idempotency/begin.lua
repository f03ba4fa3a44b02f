-- Asks for the right to run a request.
--
-- KEYS[1]  the record: a fingerprint, a space and a state
-- ARGV[1]  fingerprint of the message
-- ARGV[2]  state of a request that runs: 'running ' and its token
-- ARGV[3]  lease in ms
--
-- Returns 'new' if the request may run, or 'again' if its message has failed before and may run again, and has then
-- written the record; 'mismatch' if the record is of another message; else the state of the record.
local record = redis.call('GET', KEYS[1])
local mine = ARGV[1] .. ' ' .. ARGV[2]
local failed = record == ARGV[1] .. ' failed'
if not record or failed or record == mine then -- mine: this call is repeated, because its answer was lost
  redis.call('SET', KEYS[1], mine, 'PX', ARGV[3])
  return failed and 'again' or 'new'
end
if string.sub(record, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
  return 'mismatch'
end
return string.sub(record, #ARGV[1] + 2)
