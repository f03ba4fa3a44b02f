-- Looks at one sliding window log and writes nothing.
--
-- KEYS[1]  sorted set: member event ID, score the admission in unix ms
-- ARGV[1]  max: permits in a window, 0 or more
-- ARGV[2]  window in ms
-- ARGV[3]  clock: '' for the server's TIME, else unix ms (tests)
--
-- Returns { '', count, now, oldest, freeing } with the units and meaning of allow.lua.
local key = KEYS[1]
local max = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local count = redis.call('ZCOUNT', key, string.format('(%.0f', now - window), '+inf')
if count == 0 then
  return { '', 0, now, 0, 0 }
end

local gone = redis.call('ZCARD', key) - count -- members that left the window and are not trimmed yet
local function score(rank)
  return tonumber(redis.call('ZRANGE', key, gone + rank, gone + rank, 'WITHSCORES')[2])
end

local freeing = 0
if count >= max then
  freeing = score(math.min(count - max, count - 1))
end
return { '', count, now, score(0), freeing }
