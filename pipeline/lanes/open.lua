-- Opens a lane for a community, or finds the one that it is in.
--
-- KEYS[1]  the markers: a hash of <kind>:<community> to JSON {"lane", "epoch", "opened", "direct"}
-- ARGV[1]  the field
-- ARGV[2]  how many markers may exist
-- ARGV[3]  how many lanes belong to one community at a time; their numbers begin at 0
-- ARGV[4]  the number of the lane to share when those are taken
-- ARGV[5]  the number of the lane to open in any case, because it holds messages of the community; -1: any
-- ARGV[6]  1 if messages may be published straight into the lane, 0 if not, -1: as the marker says, not without one
-- Returns  the marker, and '1' if this call has made it, else '0'; or nil if there are too many
local direct = ARGV[6] == '1'
local text = redis.call('HGET', KEYS[1], ARGV[1])
if text then
  local readable, marker = pcall(cjson.decode, text)
  if readable and type(marker) == 'table' and type(marker.epoch) == 'string' then
    if ARGV[6] == '-1' or marker.direct == direct then
      return {text, '0'}
    end
    marker.direct = direct
    text = cjson.encode(marker)
    redis.call('HSET', KEYS[1], ARGV[1], text)
    return {text, '0'}
  end
elseif redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return nil
end
local lane = tonumber(ARGV[5])
if lane < 0 then
  local taken = {}
  local all = redis.call('HGETALL', KEYS[1])
  for i = 2, #all, 2 do
    local readable, marker = pcall(cjson.decode, all[i])
    if readable and type(marker) == 'table' and type(marker.lane) == 'number' then
      taken[marker.lane] = true
    end
  end
  lane = tonumber(ARGV[4])
  for i = 0, tonumber(ARGV[3]) - 1 do
    if not taken[i] then
      lane = i
      break
    end
  end
end
local now = redis.call('TIME')
text = cjson.encode({
  lane = lane, direct = direct,
  opened = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000),
  -- A text, because a number of so many digits would be rounded.
  epoch = string.format('%d%06d', tonumber(now[1]), tonumber(now[2])),
})
redis.call('HSET', KEYS[1], ARGV[1], text)
return {text, '1'}
