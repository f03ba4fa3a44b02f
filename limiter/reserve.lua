-- Reserves permits of one key for later, for messages that wait for their turn. limit.lua and subwindows.lua come
-- before it.
--
-- KEYS[1]  sorted set, as in allow.lua
-- ARGV[1]  limit: 1 or more, or 0 with a boost
-- ARGV[2]  window in ms
-- ARGV[3]  clock
-- ARGV[4]  most: reservations of the key whose time has not come, at most
-- ARGV[5+] triples for each message, in their order:
--   its ID, which begins with RESERVED
--   1 if it has had a reservation whose time has passed, else 0: it gets another one, whatever most is
--   longest: how long it can wait, in ms
--
-- Returns two numbers for each message: an answer, and the ms until its permit is free
--   1 reserved, 0 no reservation is left, or no permit will be free, -1 it would have to wait for too long. Of the last
--   two, the ms are those of the next reservation. A message that asks again finds its reservation.
--
-- A reservation is a member of the log whose time is ahead: the first time at which the permits before it leave room,
-- and SLACK later, because its message may come up to that late and still counts for a whole window. So no window has
-- more than max permits, whichever of these times one takes. Whoever comes later finds the permit taken, so the order
-- of reservations is kept, and nobody overtakes them. If a boost ends before that time, the limit without it counts.
local most = tonumber(ARGV[4])
local w = open(key, window, now)
local waiting = redis.call('ZCOUNT', key, '(' .. num(now + SLACK), '+inf')

-- The ms until the next permit is free; nil: none will be.
local function free()
  local from = freeing(w, max, base, ends)
  if from == 0 then
    return 0
  elseif from > 0 then
    return math.max(0, from + window - now)
  end
end

local reserved = 0
local answers = {}
for i = 5, #ARGV, 3 do
  local id, again, longest = ARGV[i], ARGV[i + 1] == '1', tonumber(ARGV[i + 2])
  local at = tonumber(redis.call('ZSCORE', key, id) or nil)
  local answer, wait
  if at and at > w.cut then
    answer, wait = 1, math.max(0, at - SLACK - now)
    if wait > longest then
      answer = -1
    end
  else
    answer, wait = 1, free()
    if not wait or (waiting >= most and not again) then
      answer = 0
    elseif wait > longest then
      answer = -1
    else
      redis.call('ZADD', key, num(now + wait + SLACK), id)
      w.log, w.count = w.log + 1, w.count + 1
      reserved = reserved + 1
      if wait > 0 then
        waiting = waiting + 1
      end
    end
  end
  answers[#answers + 1] = answer
  answers[#answers + 1] = wait or window
end
if reserved > 0 then
  expire(w, max)
end
return answers
