-- Goes on from allow.lua, with the functions of subwindows.lua, for a limit above LOG_MAX and for a key that has
-- sub-windows. A limit of up to LOG_MAX adds to the log, a higher one to the sub-windows; both count.
local w = open(key, window, now)
trim(w)
if not w.salt then
  w.salt = num(now)
  if ARGV[3] == '' then
    local t = redis.call('TIME')
    w.salt = t[1] .. t[2]
  end
end
local stamp = num(now)

local verdicts = {}
local taken = {}
local before = w.count
for from = 4, #ARGV, CHUNK do
  local to = math.min(from + CHUNK - 1, #ARGV)
  local known = w.log > 0 and redis.call('ZMSCORE', key, unpack(ARGV, from, to))
  local add = {}
  for i = from, to do
    local id = ARGV[i]
    local at = known and known[i - from + 1]
    local verdict = '0'
    if taken[id] or (at and tonumber(at) > w.cut) then
      verdict = '2'
      if at and tonumber(at) > now + SLACK and string.sub(id, 1, 1) == RESERVED then
        verdict = '0'
      end
    else
      local bytes, a = hash(w, id)
      local _, held = find(w, bytes, a)
      if held then
        verdict = '2'
      elseif w.count < max then
        verdict = '1'
        taken[id] = true
        if max > LOG_MAX then
          charge(w, bytes, a, now)
        else
          add[#add + 1] = stamp
          add[#add + 1] = id
          w.count = w.count + 1
        end
      end
    end
    verdicts[#verdicts + 1] = verdict
  end
  if #add > 0 then
    redis.call('ZADD', key, unpack(add))
    w.log = w.log + #add / 2
  end
end
save(w)
if w.count > before then
  expire(w, max)
end
return reply(w, table.concat(verdicts), max, base, ends)
