-- Looks at one key and writes nothing. limit.lua and subwindows.lua come before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  limit, 0 or more
-- ARGV[2]  window in ms
-- ARGV[3]  clock
--
-- Returns { '', count, now, oldest, freeing, reserved, ahead }, the first five with the units and meaning of allow.lua, but
-- the count has all permits that are reserved
--   reserved  permits of the count whose time has not come
--   ahead     those of them that leave room for others, as in allow.lua
local w = open(key, window, now)
local answer = reply(w, '', max, base, ends)
answer[6], answer[7] = 0, 0
if string.sub(redis.call('ZRANGE', key, -1, -1)[1] or '', 1, 1) == RESERVED then
  answer[6] = redis.call('ZCOUNT', key, '(' .. num(now + SLACK), '+inf')
  if max <= LOG_MAX and not w.state then
    answer[7] = redis.call('ZCOUNT', key, '(' .. num(now + window + SLACK), '+inf')
  end
end
return answer
