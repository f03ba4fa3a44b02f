-- Takes permits from one sliding window log.
--
-- KEYS[1]  sorted set: member event ID, score the admission in unix ms
-- ARGV[1]  max: permits in a window, 1 or more
-- ARGV[2]  window in ms
-- ARGV[3]  clock: '' for the server's TIME, else unix ms (tests)
-- ARGV[4+] event IDs in their order of arrival
--
-- Returns { verdicts, count, now, oldest, freeing }
--   verdicts  one character for each ID: 1 admitted and charged, 2 admitted before, 0 rejected
--   count     members of the window after this call
--   now       unix ms by the clock above
--   oldest    score of the oldest member, unix ms, 0 when there is none
--   freeing   score of the member whose leaving frees a permit, unix ms, 0 when one is free
--
-- The window is (now - window, now]. Members ahead of now (the server's clock was stepped back) count as well: a step
-- back delays permits and never adds any. The key expires with its newest member, not with this call.
local CHUNK = 1024 -- IDs in one command: Lua's stack bounds unpack

local key = KEYS[1]
local max = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local stamp = string.format('%.0f', now)

local function score(rank)
  return tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window))
local before = redis.call('ZCARD', key)
local count = before

local verdicts = {}
local taken = {} -- IDs charged by this call
for from = 4, #ARGV, CHUNK do
  local to = math.min(from + CHUNK - 1, #ARGV)
  local known = before > 0 and redis.call('ZMSCORE', key, unpack(ARGV, from, to))
  local add = {}
  for i = from, to do
    local id = ARGV[i]
    local verdict = '0'
    if taken[id] or (known and known[i - from + 1]) then
      verdict = '2'
    elseif count < max then
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

if count > before then
  local newest = now
  if before > 0 then
    newest = score(-1)
  end
  -- Expiry is housekeeping, trimming is the rule: it comes 100 ms late, so that a server that rounds never
  -- drops what still counts.
  redis.call('PEXPIREAT', key, string.format('%.0f', newest + window + 100))
end

local oldest, freeing = 0, 0
if count > 0 then
  oldest = now
  if before > 0 then
    oldest = score(0)
  end
end
if count == max then
  freeing = oldest
elseif count > max then
  freeing = score(count - max)
end
return { table.concat(verdicts), count, now, oldest, freeing }
