-- Records changes in the change log and publishes their events.
--
-- KEYS[1]  the change log: sorted set, member <type>:<target>, score unix ms
-- ARGV[1]  the channel of the events
-- ARGV[2]  how long the log keeps an entry, in ms
-- ARGV[3]  ... for each change: the member, then the event's JSON, an object
--          that is not empty; the script adds its timestamp as the last member
-- Returns  the number of changes
-- Clock    TIME of this server, in ms. If a target changes twice in one
--          millisecond, the second change gets the next millisecond, so that a
--          score stands for one change. A score more than a minute ahead, which
--          only another writer can have left, is ignored. Numbers are exact up
--          to 2^53 ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 3, #ARGV, 2 do
  local at = now
  local last = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or '0')
  if last >= now and last < now + 60000 then
    at = math.floor(last) + 1
  end
  local ms = string.format('%.0f', at)
  redis.call('ZADD', KEYS[1], ms, ARGV[i])
  redis.call('PUBLISH', ARGV[1], string.sub(ARGV[i + 1], 1, -2) .. ',"timestamp":' .. ms .. '}')
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
return (#ARGV - 2) / 2
