-- Ends or renews the mark of a request that runs, unless the record belongs to another request by now.
--
-- KEYS[1]  the record
-- ARGV[1]  the record of the caller's request while it runs
-- ARGV[2]  what to do: 'keep', 'forget' or 'renew'
-- ARGV[3]  keep, renew: time to live in ms
-- ARGV[4]  keep: the record to write, also if there is none
--
-- Returns 1 if the record was the caller's or there was none, else 0.
local record = redis.call('GET', KEYS[1])
if record and record ~= ARGV[1] then
  return 0
end
if ARGV[2] == 'keep' then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
elseif ARGV[2] == 'forget' then
  redis.call('DEL', KEYS[1])
elseif record then -- a renewal that comes late must not bring a forgotten record back
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
