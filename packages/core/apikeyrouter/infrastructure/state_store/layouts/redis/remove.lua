-- Remove one row, or all but the newest of a kind.
-- KEYS[1]: what every name begins with. ARGV: the kind, then the id, or '' and how many stay.
local prefix, kind, id, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local by_moment = prefix .. 'by-moment:' .. kind
local gone = { id }
if most then
    gone = redis.call('ZRANGE', by_moment, 0, -most - 1)
end
for _, one in ipairs(gone) do
    local name = prefix .. 'row:' .. #kind .. ':' .. kind .. one
    local kept = redis.call('HMGET', name, 'key_id', 'provider_id')
    redis.call('ZREM', by_moment, one)
    if kept[1] then
        redis.call('ZREM', prefix .. 'by-key:' .. #kind .. ':' .. kind .. kept[1], one)
    end
    if kept[2] then
        redis.call('ZREM', prefix .. 'by-provider:' .. #kind .. ':' .. kind .. kept[2], one)
    end
    redis.call('DEL', name)
end
return #gone
