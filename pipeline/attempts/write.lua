-- Writes a field of the record of a message, which lives on. Asked again, it does the same.
--
-- KEYS[1]  the message's record; see begin.lua
-- ARGV[1]  the field
-- ARGV[2]  its value
-- ARGV[3]  lifetime of the record, seconds
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
