-- Stores a document if it is newer than the one that is there.
--
-- KEYS[1]  the document: a string, or a hash of documents
-- KEYS[2]  the number of the document while it is deleted: a string
-- ARGV[1]  the field of the hash; empty for a string
-- ARGV[2]  the text, which begins with {"version":<number>; empty: the document
--          is deleted
-- ARGV[3]  the number of the text, 1 to 2^53
-- ARGV[4]  how long the number of a deleted document is kept, in ms
-- Returns  1 if the text was newer, 0 if it was not
local field, text, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local kind, there = redis.call('TYPE', KEYS[1]).ok, false
if field ~= '' then
  if kind == 'hash' then there = redis.call('HGET', KEYS[1], field) end
elseif kind == 'string' then
  there = redis.call('GET', KEYS[1])
end
local has
if there then
  has = string.match(there, '^{"version":(%d+)[,}]')
else
  has = redis.call('GET', KEYS[2])
end
if has and tonumber(has) >= number then return 0 end

if kind ~= 'none' and kind ~= (field ~= '' and 'hash' or 'string') then
  redis.call('DEL', KEYS[1])
end
if text == '' then
  if field ~= '' then redis.call('HDEL', KEYS[1], field) else redis.call('DEL', KEYS[1]) end
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
else
  if field ~= '' then redis.call('HSET', KEYS[1], field, text) else redis.call('SET', KEYS[1], text) end
  redis.call('DEL', KEYS[2])
end
return 1
