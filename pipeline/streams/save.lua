-- Stores what a look at a stream has found, unless another look has been stored since that look began.
--
-- KEYS[1]  the stream's record
-- ARGV[1]  its version, as look.lua returned it
-- ARGV[2]  field, ARGV[3] value, and so on
-- Returns  the record's new version, or 0 if it was too late
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return redis.call('HINCRBY', KEYS[1], 'version', 1)
