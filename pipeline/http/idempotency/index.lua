-- Adds an answer to the index of its community, and takes the oldest answers out of it that are too many.
--
-- KEYS[1]  sorted set: member and number of the KiB, score when the answer was kept, in unix µs
-- ARGV[1]  member
-- ARGV[2]  size in KiB, 1 or more
-- ARGV[3]  the most KiB that the index may hold
-- ARGV[4]  time to live in ms
--
-- Returns what it took out, at most TAKE entries, each an entry and its score. One call adds fewer, so the index stays
-- within its bound. Entries of answers that have expired are the oldest, and go first.
local TAKE = 512

local now = redis.call('TIME')
local stamp = string.format('%.0f', tonumber(now[1]) * 1000000 + tonumber(now[2]))
local add = {}
for kib = 1, tonumber(ARGV[2]) do
  add[#add + 1] = stamp
  add[#add + 1] = ARGV[1] .. ':' .. kib
end
redis.call('ZADD', KEYS[1], unpack(add))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
if over <= 0 then
  return {}
end
return redis.call('ZPOPMIN', KEYS[1], math.min(over, TAKE))
