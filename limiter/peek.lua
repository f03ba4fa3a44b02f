-- Looks at one key and writes nothing. subwindows.lua comes before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  max: permits in a window, 0 or more
-- ARGV[2]  window in ms
-- ARGV[3]  clock: '' for the server's TIME, else unix ms (tests)
--
-- Returns { '', count, now, oldest, freeing } with the units and meaning of allow.lua.
local w = open(KEYS[1], tonumber(ARGV[2]), (clock(ARGV[3])))
return reply(w, '', tonumber(ARGV[1]))
