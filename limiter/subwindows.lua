-- Sub-windows: what a key holds for a limit of more than LOG_MAX permits. The scripts begin with this file, or, as
-- allow.lua does, go on with it.
--
-- A sub-window is a hundredth of the window and ends at a whole multiple of its width. An admission counts as if it had
-- been made at the end of its sub-window. So it counts for up to 1 % of the window too long, and never too short.
--
-- The sorted set has, by score:
--   STATE         one member with the state, as numbers: salt, total of all counts, number of chunks
--   COUNTS + end  one member for each sub-window: its end in unix ms, and its count
--   -1 - chunk    IDs: one member for each chunk, of entries of 12 bytes, oldest first. An entry is 64 bits of the ID's
--                 SHA-1, salted, and the end of its sub-window in TICKs modulo 2^32
--   unix ms       the log: event IDs of a time when the limit was lower, or of an older version. They count beside the
--                 sub-windows until they have left the window, so nothing is ever converted
-- The members with a negative score begin with MARK, which no event ID does.
--
-- The chunks are a linear hash table (Litwin 1980): it grows by one chunk at a time, up to CHUNKS. A chunk holds its
-- newest MOST entries. So a key remembers the newest 1,000,000 IDs (a chunk gets more than MOST of them with a
-- probability below 10^-7), and in sub-windows that are not full, more. An older one is charged once more if it comes
-- again: an error toward rejecting. Two IDs count as one if their 64 bits are the same.
--
-- One call does a bounded amount of work. What has left the window is not counted, and is removed step by step.
local MARK = '\1'
-- STATE is no round number because miniredis's Lua does not read "-9e+15". LAST is above the counts and below the
-- chunks.
local STATE, COUNTS, LAST = -9000000000000001, -8e15, -7e15
local PARTS = 100 -- sub-windows in a window
local TICK = 10 -- ms
local ENTRY = 12
local DROP = 8 -- entries that are dropped at a time
local SPLITS = 2 -- chunks that one call adds
local GRACE = 60000 -- ms that the key stays after its newest admission has left the window

local function num(x)
  return string.format('%.0f', x)
end

-- The time of Redis in unix ms and its text in microseconds, or the given clock.
local function clock(given)
  if given ~= '' then
    return tonumber(given), given
  end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000), t[1] .. t[2]
end

-- The key as it is at now.
local function open(key, window, now)
  local w = { key = key, window = window, now = now, cut = math.max(now - window, 0), total = 0, chunks = 1 }
  w.cache = {} -- chunks by number
  w.charged = {} -- change of the count by sub-window
  w.state = redis.call('ZRANGEBYSCORE', key, num(STATE), num(STATE))[1]
  if w.state then
    local salt, total, chunks = string.match(w.state, '(%d+) (%d+) (%d+)')
    w.salt, w.total, w.chunks = salt, tonumber(total), tonumber(chunks)
    w.gone = redis.call('ZRANGEBYSCORE', key, num(COUNTS), num(COUNTS + w.cut))
    for i = 1, #w.gone do
      w.total = w.total - tonumber(string.match(w.gone[i], '%d+$'))
    end
  end
  w.log = redis.call('ZCOUNT', key, '(' .. num(w.cut), '+inf')
  w.count = w.total + w.log
  return w
end

-- Removes what has left the window. A script that calls it must save.
local function trim(w)
  if w.gone and #w.gone > 0 then
    redis.call('ZREMRANGEBYSCORE', w.key, num(COUNTS), num(COUNTS + w.cut))
  end
  -- Members that are of no use have neighbouring ranks: the oldest of the log, and before them the chunks, when no
  -- sub-window counts.
  local from = '0'
  if w.total == 0 then
    from = num(LAST)
  end
  local dead = redis.call('ZCOUNT', w.key, from, num(w.cut))
  if w.count == 0 and dead > STEP then
    redis.call('UNLINK', w.key)
    w.state, w.salt, w.chunks, dead = nil, nil, 1, 0
  elseif dead > 0 then
    local rank = redis.call('ZCOUNT', w.key, '-inf', '(' .. from)
    dead = dead - redis.call('ZREMRANGEBYRANK', w.key, rank, rank + math.min(dead, STEP) - 1)
  end
  w.done = dead == 0 and w.total == 0 -- nothing but the state and a log
end

-- The hash of an ID: its bytes, and a number that picks the chunk.
local function hash(w, id)
  local hex = redis.sha1hex(w.salt .. ' ' .. id)
  local a, b = tonumber(string.sub(hex, 1, 8), 16), tonumber(string.sub(hex, 9, 16), 16)
  local floor = math.floor
  return string.char(floor(a / 16777216), floor(a / 65536) % 256, floor(a / 256) % 256, a % 256,
    floor(b / 16777216), floor(b / 65536) % 256, floor(b / 256) % 256, b % 256), a
end

-- The greatest power of two that is at most the number of chunks.
local function level(w)
  local l = 1
  while l * 2 <= w.chunks do
    l = l * 2
  end
  return l
end

local function chunk(w, p)
  local c = w.cache[p]
  if not c then
    c = { score = num(-1 - p), head = MARK .. p .. ':' }
    c.text = redis.call('ZRANGEBYSCORE', w.key, c.score, c.score)[1]
    c.stored = c.text ~= nil
    c.text = c.text or c.head
    w.cache[p] = c
  end
  return c
end

-- The chunk of an ID.
local function chunk_of(w, a)
  w.level = w.level or level(w)
  local p = a % (w.level * 2)
  if p >= w.chunks then
    p = a % w.level
  end
  return chunk(w, p)
end

-- The ticks from the cut to the end of the entry's sub-window. The entry counts while they are positive.
local function ticks(w, c, at)
  local b1, b2, b3, b4 = string.byte(c.text, at + 8, at + 11)
  local t = (b1 * 16777216 + b2 * 65536 + b3 * 256 + b4 - math.floor(w.cut / TICK)) % 4294967296
  if t >= 2147483648 then
    t = t - 4294967296
  end
  return t
end

-- The chunk of an ID, and the position of its last entry there that counts, nil when there is none.
local function find(w, bytes, a)
  local c = chunk_of(w, a)
  local last
  local at = string.find(c.text, bytes, #c.head + 1, true)
  while at do
    if (at - #c.head - 1) % ENTRY == 0 and ticks(w, c, at) > 0 then
      last = at
    end
    at = string.find(c.text, bytes, at + 1, true)
  end
  return c, last
end

-- Drops the chunk's oldest entries: those that have left the window, and those that are too many.
local function drop(w, c)
  local first = #c.head + 1 -- first entry that stays
  local most = #c.text - MOST * ENTRY
  if w.chunks < CHUNKS then
    most = 0 -- the chunk is divided soon
  end
  local from = first
  for at = first + (DROP - 1) * ENTRY, #c.text, DROP * ENTRY do
    local gone = true
    for older = at, at - (DROP - 1) * ENTRY, -ENTRY do -- a merge adds entries out of their order
      gone = gone and ticks(w, c, older) <= 0
    end
    if not gone and from > most then
      break
    end
    from = at + ENTRY
  end
  if from > first then
    c.text = c.head .. string.sub(c.text, from)
  end
end

-- Charges a permit at a time, which is now or before.
local function charge(w, bytes, a, at)
  local width = math.floor(w.window / PARTS)
  local end_ = math.ceil(at / width) * width
  local c = chunk_of(w, a)
  drop(w, c)
  local t = math.floor(end_ / TICK)
  c.text = c.text .. bytes .. string.char(
    math.floor(t / 16777216) % 256, math.floor(t / 65536) % 256, math.floor(t / 256) % 256, t % 256)
  c.changed = true
  w.charged[end_] = (w.charged[end_] or 0) + 1
  w.total = w.total + 1
  w.count = w.count + 1
end

-- Adds a chunk and gives it its entries of the chunk that had them.
local function split(w)
  local l = level(w)
  local from, to = chunk(w, w.chunks - l), chunk(w, w.chunks)
  local stay, go = { from.head }, { to.head }
  for at = #from.head + 1, #from.text, ENTRY do
    local b2, b3, b4 = string.byte(from.text, at + 1, at + 3)
    local list = stay
    if (b2 * 65536 + b3 * 256 + b4) % (l * 2) == w.chunks then
      list = go
    end
    list[#list + 1] = string.sub(from.text, at, at + ENTRY - 1)
  end
  from.text, to.text = table.concat(stay), table.concat(go)
  from.changed, to.changed = true, true
  w.chunks = w.chunks + 1
end

-- Replaces the member that has a score. What is added is left in members.
local function replace(w, members, score, member)
  redis.call('ZREMRANGEBYSCORE', w.key, score, score)
  if member then
    members[#members + 1] = score
    members[#members + 1] = member
  end
end

-- Writes what has changed.
local function save(w)
  local members = {}
  for _ = 1, SPLITS do
    if w.total > FILL * w.chunks and w.chunks < CHUNKS then
      split(w)
    end
  end
  for _, c in pairs(w.cache) do
    if c.changed and (c.stored or #c.text > #c.head) then
      replace(w, members, c.score, #c.text > #c.head and c.text)
    end
  end
  for end_, n in pairs(w.charged) do
    local score = num(COUNTS + end_)
    local old = redis.call('ZRANGEBYSCORE', w.key, score, score)[1]
    n = n + (old and tonumber(string.match(old, '%d+$')) or 0)
    replace(w, members, score, n > 0 and MARK .. num(end_) .. ':' .. num(n))
  end
  if w.done and w.total == 0 then
    redis.call('ZREMRANGEBYSCORE', w.key, num(STATE), num(STATE))
  elseif w.state or w.total > 0 then
    local state = MARK .. w.salt .. ' ' .. num(w.total) .. ' ' .. num(w.chunks)
    if state ~= w.state then
      replace(w, members, num(STATE), state)
    end
  end
  for i = 1, #members, 1000 do
    redis.call('ZADD', w.key, unpack(members, i, math.min(i + 999, #members)))
  end
end

-- The time from which the newest admission counts, 0 when there is none.
local function newest(w)
  local at = 0
  local count = redis.call('ZREVRANGEBYSCORE', w.key, num(LAST), num(COUNTS), 'LIMIT', 0, 1)[1]
  if count then
    at = tonumber(string.match(count, '%d+'))
  end
  return math.max(at, tonumber(redis.call('ZRANGE', w.key, -1, -1, 'WITHSCORES')[2] or 0))
end

-- Lets the key expire after its newest admission: that of a large limit late, for a process unlinks it before (see
-- sweep.go), and any other as allow.lua does.
local function expire(w, max)
  local late = 100
  if max > LOG_MAX then
    late = GRACE
  end
  redis.call('PEXPIREAT', w.key, num(newest(w) + w.window + late))
end

-- The time from which the admission of a rank counts; rank 0 is the oldest.
local function counted(w, rank)
  local log = redis.call('ZCOUNT', w.key, '-inf', num(w.cut)) -- rank of the log's first member that counts
  local function from_log(i)
    return tonumber(redis.call('ZRANGE', w.key, log + i, log + i, 'WITHSCORES')[2])
  end
  local counts = {}
  if w.total > 0 then
    local most = rank == 0 and 1 or -1
    counts = redis.call('ZRANGEBYSCORE', w.key, '(' .. num(COUNTS + w.cut), num(LAST), 'LIMIT', 0, most)
  end
  local before = 0 -- admissions of the sub-windows so far
  for i = 1, #counts do
    local end_, n = string.match(counts[i], '(%d+):(%d+)')
    local older = 0
    if w.log > 0 then
      older = redis.call('ZCOUNT', w.key, '(' .. num(w.cut), end_)
    end
    if before + older > rank then
      break -- it is in the log, before this sub-window
    end
    before = before + tonumber(n)
    if before + older > rank then
      return tonumber(end_)
    end
  end
  return from_log(rank - before)
end

-- The time from which the admission counts whose leaving frees a permit, 0, or -1, as in allow.lua. The last three
-- arguments are those of limit.lua.
local function freeing(w, max, base, ends)
  if w.count < max then
    return 0
  elseif max == 0 then
    return -1
  end
  local from = counted(w, w.count - max)
  if ends and from + w.window >= ends then
    return freeing(w, base, base)
  end
  return from
end

-- The reply of allow.lua and peek.lua. The last three arguments are those of limit.lua.
local function reply(w, verdicts, max, base, ends)
  local oldest = 0
  if w.count > 0 then
    oldest = counted(w, 0)
  end
  return { verdicts, w.count, w.now, oldest, freeing(w, max, base, ends) }
end
