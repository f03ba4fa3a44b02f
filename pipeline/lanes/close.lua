-- Closes a lane, unless it was opened again since.
--
-- KEYS[1]  the markers; see open.lua
-- ARGV[1]  the field
-- ARGV[2]  the epoch of the lane to close
-- Returns  1 if it is closed by this call, else 0
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then
  return 0
end
local readable, marker = pcall(cjson.decode, text)
if readable and type(marker) == 'table' and marker.epoch ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
