-- Begins the scripts that are asked with a limit.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  max: permits in a window; or max+boost@until, which has boost permits more before the time until, in unix ms
-- ARGV[2]  window in ms
-- ARGV[3]  clock: '' for the server's TIME, else unix ms (tests)
--
-- A boost ends by the clock of the server, so it ends for all processes at the same time.
local key = KEYS[1]
local max = tonumber(ARGV[1]) -- the limit that is in force; nil here: it has a boost
local window = tonumber(ARGV[2])
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local base, ends = max, nil -- the limit without a boost; when the boost ends that is in force
if not max then
  local plain, boost, til = string.match(ARGV[1], '^(%d+)%+(%d+)@(%d+)$')
  base = tonumber(plain)
  max = base
  if now < tonumber(til) then
    max, ends = base + tonumber(boost), tonumber(til)
  end
end
