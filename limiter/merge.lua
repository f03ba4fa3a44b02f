-- Adds admissions that were made without Redis to one sliding window log.
--
-- KEYS[1]  sorted set: member event ID, score the admission in unix ms
-- ARGV[1]  window in ms
-- ARGV[2]  clock: '' for the server's TIME, else unix ms (tests)
-- ARGV[3+] pairs of age in ms (0 or more, how long ago the admission was) and event ID, at most 1024 pairs
--
-- Returns the number of admissions added. An ID that is there already keeps its score; one that has left the window is
-- left out. Ages, not times, cross the wire, so that no clock but the server's dates an admission, and none in the future.
local key = KEYS[1]
local window = tonumber(ARGV[1])
local now = tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local add = {}
for i = 3, #ARGV, 2 do
  local age = math.max(0, tonumber(ARGV[i]))
  if age < window then
    add[#add + 1] = string.format('%.0f', now - age)
    add[#add + 1] = ARGV[i + 1]
  end
end
if #add == 0 then
  return 0
end
local added = redis.call('ZADD', key, 'NX', unpack(add))
local newest = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
redis.call('PEXPIREAT', key, string.format('%.0f', newest + window + 100)) -- late, as in allow.lua
return added
