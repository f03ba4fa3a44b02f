-- Releases the permit of one ID. subwindows.lua comes before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  window in ms, or a longer time
-- ARGV[2]  clock: '' for the server's TIME, else unix ms (tests)
-- ARGV[3]  event ID
--
-- Returns 1, or 0 when the ID has no permit.
local key, id = KEYS[1], ARGV[3]
if string.sub(id, 1, 1) == MARK then
  return 0 -- no event ID
end
-- A member of the log may have left the window and still be there, beside an entry that counts. So both are removed.
local released = redis.call('ZREM', key, id)
if redis.call('ZCOUNT', key, num(STATE), num(STATE)) == 0 then
  return released
end
local w = open(key, tonumber(ARGV[1]), (clock(ARGV[2])))
trim(w)
if not w.state then
  return released
end
local c, at = find(w, hash(w, id))
if at then
  -- The sub-window ends in the tick. Should two, of windows of different length, then the one that counts longer stays.
  local tick = (math.floor(w.cut / TICK) + ticks(w, c, at)) * TICK
  local count = redis.call('ZRANGEBYSCORE', key, num(COUNTS + tick), num(COUNTS + tick + TICK - 1), 'LIMIT', 0, 1)[1]
  c.text = string.sub(c.text, 1, at - 1) .. string.sub(c.text, at + ENTRY)
  c.changed = true
  if count then
    w.charged[tonumber(string.match(count, '%d+'))] = -1
    w.total = w.total - 1
    released = 1
  end
end
save(w)
return released
