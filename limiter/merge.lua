-- Adds admissions that were made without Redis to one key. limit.lua and subwindows.lua come before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  limit; it says whether the admissions go to the log or to the sub-windows
-- ARGV[2]  window in ms
-- ARGV[3]  clock
-- ARGV[4+] pairs of age in ms (0 or more, how long ago the admission was) and event ID, at most 1024 pairs
--
-- Returns the number of admissions added. An ID whose permit still counts keeps it; an admission that has left the
-- window is left out. Ages, not times, cross the wire, so that no clock but the server's dates an admission, and none
-- in the future.
local ids = {}
for i = 5, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
end
if #ids == 0 then
  return 0
end
local w = open(key, window, now)
trim(w)
w.salt = w.salt or select(2, clock(ARGV[3]))

local known = redis.call('ZMSCORE', key, unpack(ids))
local seen = {}
local add = {}
local added = 0
for i, id in ipairs(ids) do
  local age = math.max(0, tonumber(ARGV[2 + 2 * i]))
  local bytes, a = hash(w, id)
  local _, held = find(w, bytes, a)
  held = held or seen[id] or (known[i] and tonumber(known[i]) > w.cut)
  if age < window and not held then
    seen[id] = true
    added = added + 1
    if max > LOG_MAX then
      charge(w, bytes, a, now - age)
    else
      add[#add + 1] = num(now - age)
      add[#add + 1] = id
    end
  end
end
if #add > 0 then
  redis.call('ZADD', key, unpack(add))
end
save(w)
if added > 0 then
  expire(w, max)
end
return added
