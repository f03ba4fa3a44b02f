-- Looks at one key and writes nothing. subwindows.lua comes before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  max: permits in a window, 0 or more
-- ARGV[2]  window in ms
-- ARGV[3]  clock: '' for the server's TIME, else unix ms (tests)
--
-- Returns { '', count, now, oldest, freeing, reserved }, the first five with the units and meaning of allow.lua
--   reserved  permits of the count whose time has not come
local w = open(KEYS[1], tonumber(ARGV[2]), (clock(ARGV[3])))
local answer = reply(w, '', tonumber(ARGV[1]))
answer[6] = 0
if string.sub(redis.call('ZRANGE', KEYS[1], -1, -1)[1] or '', 1, 1) == RESERVED then
  answer[6] = redis.call('ZCOUNT', KEYS[1], '(' .. num(w.now + SLACK), '+inf')
end
return answer
