-- Takes permits from one key. limit.lua comes before it.
--
-- KEYS[1]  sorted set. Member event ID, score the admission in unix ms: the log. A key whose lowest score is negative
--          has sub-windows too: see subwindows.lua
-- ARGV[1]  limit: 1 or more, or 0 with a boost
-- ARGV[2]  window in ms
-- ARGV[3]  clock
-- ARGV[4+] event IDs in their order of arrival
--
-- Returns { verdicts, count, now, oldest, freeing }
--   verdicts  one character for each ID: 1 admitted and charged, 2 admitted before, 0 rejected
--   count     admissions in the window after this call, and permits that are reserved for soon
--   now       unix ms by the clock above
--   oldest    time from which the oldest admission counts, unix ms, 0 when there is none
--   freeing   the same of the admission whose leaving frees a permit, unix ms, 0 when one is free. If a boost ends before
--             that, it is the one whose leaving frees a permit of the limit without the boost. -1 when no permit will be
--             free, because that limit is 0
--
-- The window is (now - window, now]. Admissions ahead of now (the server's clock was stepped back) count as well: a
-- step back delays permits and never adds any. The key expires with its newest admission, not with this call.
--
-- Permits that are reserved for later (reserve.lua) have times ahead of now too, and count for the same reason: what is
-- free later is theirs. An ID that begins with RESERVED has its permit from SLACK before that time on. After the limit
-- was raised, reservations that no window has together with now leave room for others.
--
-- This file decides for a log, up to LOG_MAX permits; allow_subwindows.lua, which follows it in the script, decides for
-- everything else. One call removes at most STEP members that have left the window; those that stay behind are not
-- counted. The constants in capitals that no file defines come from script.go.
local CHUNK = 1024 -- IDs in one command: Lua's stack bounds unpack

local lowest = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) -- nil: there is no key

if max <= LOG_MAX and (lowest or 0) >= 0 then
  local cut = now - window
  local card = 0 -- members of the set
  local left = 0 -- those of them that have left the window
  if lowest then
    card = redis.call('ZCARD', key)
  end
  if lowest and lowest <= cut then
    lowest = nil
    local to = string.format('%.0f', cut)
    if card <= STEP then
      card = card - redis.call('ZREMRANGEBYSCORE', key, '-inf', to)
    else
      left = redis.call('ZCOUNT', key, '-inf', to)
      if left == card then
        redis.call('UNLINK', key)
        card, left = 0, 0
      else
        local n = redis.call('ZREMRANGEBYRANK', key, 0, math.min(left, STEP) - 1)
        card, left = card - n, left - n
      end
    end
  end
  local before = card - left
  local count = before
  local ahead = 0 -- reservations that leave room
  if count >= max and count > 0 and string.sub(redis.call('ZRANGE', key, -1, -1)[1], 1, 1) == RESERVED then
    ahead = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', now + window + SLACK), '+inf')
  end
  local stamp = string.format('%.0f', now)

  local verdicts = {}
  local taken = {} -- IDs charged by this call
  for from = 4, #ARGV, CHUNK do
    local to = math.min(from + CHUNK - 1, #ARGV)
    local known = before > 0 and redis.call('ZMSCORE', key, unpack(ARGV, from, to))
    local add = {}
    for i = from, to do
      local id = ARGV[i]
      local at = known and known[i - from + 1]
      local verdict = '0'
      if taken[id] or (at and (left == 0 or tonumber(at) > cut)) then
        verdict = '2'
        if at and tonumber(at) > now + SLACK and string.sub(id, 1, 1) == RESERVED then
          verdict = '0'
        end
      elseif count - ahead < max then
        verdict = '1'
        count = count + 1
        taken[id] = true
        add[#add + 1] = stamp
        add[#add + 1] = id
      end
      verdicts[#verdicts + 1] = verdict
    end
    if #add > 0 then
      redis.call('ZADD', key, unpack(add))
    end
  end

  if left > 0 then
    left = redis.call('ZCARD', key) - count -- some that had left may have been charged again
  end
  local function score(rank)
    return tonumber(redis.call('ZRANGE', key, left + rank, left + rank, 'WITHSCORES')[2])
  end
  if count > before then
    local newest = now
    if before > 0 then
      newest = score(count - 1)
    end
    -- Expiry is housekeeping, trimming is the rule: it comes 100 ms late, so that a server that rounds never
    -- drops what still counts.
    redis.call('PEXPIREAT', key, string.format('%.0f', newest + window + 100))
  end

  local oldest, freeing = 0, 0
  if count > 0 then
    oldest = now
    if before > 0 then
      oldest = lowest or score(0)
      if count > before then
        oldest = math.min(oldest, now) -- after a step back of the clock
      end
    end
  end
  if max == 0 then
    freeing = -1
  elseif count == max then
    freeing = oldest
  elseif count - ahead >= max then
    freeing = score(count - max)
  end
  if ends and freeing > 0 and freeing + window >= ends then
    freeing = base > 0 and score(count - base) or -1
  end
  return { table.concat(verdicts), count - ahead, now, oldest, freeing }
end
