-- Replaces a document if it is still the one that was seen.
--
-- KEYS[1]  the document: a string, or a hash of documents
-- KEYS[2]  the number of the document while it is deleted: a string
-- ARGV[1]  the field of the hash; empty for a string
-- ARGV[2]  the text that was seen; empty: none, or a key of another type
-- ARGV[3]  the text to store; empty: the document is deleted
-- ARGV[4]  the number that was seen in KEYS[2] if there was no text; else empty
-- Returns  1 if it was replaced, 0 if something else is there
local field, seen, text = ARGV[1], ARGV[2], ARGV[3]
local kind, there = redis.call('TYPE', KEYS[1]).ok, ''
local usable = field ~= '' and 'hash' or 'string'
if kind == usable then
  there = (field ~= '' and redis.call('HGET', KEYS[1], field) or field == '' and redis.call('GET', KEYS[1])) or ''
end
if there ~= seen then return 0 end
if there == '' and (kind == 'none' or kind == usable) and (redis.call('GET', KEYS[2]) or '') ~= ARGV[4] then return 0 end
if there == '' and kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
if text == '' then
  if field ~= '' then redis.call('HDEL', KEYS[1], field) else redis.call('DEL', KEYS[1]) end
elseif field ~= '' then
  redis.call('HSET', KEYS[1], field, text)
else
  redis.call('SET', KEYS[1], text)
end
return 1
