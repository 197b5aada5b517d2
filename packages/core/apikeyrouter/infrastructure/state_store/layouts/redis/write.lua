-- Write rows of different ids, all in this one step.
-- KEYS[1]: what every name begins with. ARGV: what is expected, then nine values a row.
-- Expected is '' (any revision up to the row's own), 'none' (no such row), or a revision.
-- Returns how many rows were written.
local prefix, expected, written = KEYS[1], ARGV[1], 0

local function indexes(kind, key_id, provider_id)
    local found = { prefix .. 'by-moment:' .. kind }
    if key_id ~= '' then
        found[#found + 1] = prefix .. 'by-key:' .. #kind .. ':' .. kind .. key_id
    end
    if provider_id ~= '' then
        found[#found + 1] = prefix .. 'by-provider:' .. #kind .. ':' .. kind .. provider_id
    end
    return found
end

for first = 2, #ARGV, 9 do
    local kind, id, version, revision, moment, key_id, provider_id, state, body =
        unpack(ARGV, first, first + 8)
    local name = prefix .. 'row:' .. #kind .. ':' .. kind .. id
    local kept = redis.call('HMGET', name, 'revision', 'key_id', 'provider_id')
    local may = kept[1] == false or tonumber(kept[1]) <= tonumber(revision)
    if expected == 'none' then
        may = kept[1] == false
    elseif expected ~= '' then
        may = kept[1] == expected
    end
    if may then
        if kept[1] and (kept[2] ~= key_id or kept[3] ~= provider_id) then
            for _, index in ipairs(indexes(kind, kept[2], kept[3])) do
                redis.call('ZREM', index, id)
            end
        end
        redis.call('HSET', name, 'version', version, 'revision', revision, 'moment', moment,
            'key_id', key_id, 'provider_id', provider_id, 'state', state, 'body', body)
        for _, index in ipairs(indexes(kind, key_id, provider_id)) do
            redis.call('ZADD', index, moment, id)
        end
        written = written + 1
    end
end
return written
