-- Gives the caller the turn to look at a stream, unless another process has begun to look a moment ago.
--
-- KEYS[1]  the stream's record
-- ARGV[1]  least time between the beginnings of two looks, ms
-- Returns  nothing if it is not the caller's turn, else {version, tally, redelivered, swept}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('HGET', KEYS[1], 'looked') or 0)
if now >= last and now - last < tonumber(ARGV[1]) then
  return {}
end
redis.call('HSET', KEYS[1], 'looked', string.format('%.0f', now))
local version = redis.call('HGET', KEYS[1], 'version') or '0'
local fields = {version}
for i, name in ipairs({'tally', 'redelivered', 'swept'}) do
  fields[i + 1] = redis.call('HGET', KEYS[1], name) or ''
end
return fields
