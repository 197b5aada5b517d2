-- Puts notices on the board, each with a number and the server's time.
--
-- KEYS: the stream, the counter; then of each shelf its latest notices and when each was observed.
-- ARGV: how many notices are kept, how long in seconds, how many names on each shelf; then of each
-- notice its shelf (0 for one that is not kept), its name, its age in seconds, its bytes.
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local stream, counter = KEYS[1], KEYS[2]
local shelves = (#KEYS - 2) / 2
local notices, lasts = tonumber(ARGV[1]), tonumber(ARGV[2])

for place = 3 + shelves, #ARGV, 4 do
  local shelf, name, bytes = tonumber(ARGV[place]), ARGV[place + 1], ARGV[place + 3]
  local at = string.format('%.6f', now - tonumber(ARGV[place + 2]))
  local number = redis.call('INCR', counter)
  redis.call('XADD', stream, 'MAXLEN', '~', notices, '*', 'n', number, 'a', at, 'd', bytes)
  if shelf > 0 then
    local latest, observed = KEYS[1 + 2 * shelf], KEYS[2 + 2 * shelf]
    local before = redis.call('ZSCORE', observed, name)
    if not before or tonumber(before) <= tonumber(at) then
      redis.call('ZADD', observed, at, name)
      redis.call('HSET', latest, name, bytes)
    end
  end
end

for shelf = 1, shelves do
  local latest, observed = KEYS[1 + 2 * shelf], KEYS[2 + 2 * shelf]
  local over = redis.call('ZCARD', observed) - tonumber(ARGV[2 + shelf])
  if over > 0 then
    for _, name in ipairs(redis.call('ZRANGE', observed, 0, over - 1)) do
      redis.call('HDEL', latest, name)
      redis.call('ZREM', observed, name)
    end
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, lasts) end
return string.format('%.6f', now)
