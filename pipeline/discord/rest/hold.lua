-- Holds calls back, or says for how long they are held back.
--
-- KEYS[1]  what is held back: a string, the time at which that ends, in unix ms by the server's TIME. The key expires then
-- ARGV[1]  for how long from now at least, in ms; 0 changes nothing
-- Returns  for how long it is held back from now, in ms; 0 if it is not
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = math.max(0, (tonumber(redis.call('GET', KEYS[1])) or now) - now)
local wanted = tonumber(ARGV[1])
if wanted > left then
  redis.call('SET', KEYS[1], string.format('%.0f', now + wanted), 'PX', ARGV[1])
  left = wanted
end
return left
