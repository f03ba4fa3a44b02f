-- Removes what has left the window from one key, and the key when nothing counts any more. subwindows.lua comes before
-- it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  window in ms
-- ARGV[2]  clock: '' for the server's TIME, else unix ms (tests)
--
-- Returns the time in ms until the newest admission leaves the window, 0 when the key is gone.
local key = KEYS[1]
local w = open(key, tonumber(ARGV[1]), (clock(ARGV[2])))
if w.count == 0 then
  redis.call('UNLINK', key)
  return 0
end
trim(w)
save(w)
return math.max(1, newest(w) + w.window - w.now)
