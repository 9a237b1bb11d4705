-- Two fingerprints beside each other. One is { tables = { name = { rows, hash, definition } }, objects = { ["view x"] = hash },
-- sequences = { name = last value }, large_objects = { count, hash } }; the last two where the database has such.
local _, rt = ...

local fingerprint = {}
local SHOWN = 10

local function sorted_keys(first, second)
    local keys, seen = {}, {}
    for _, map in ipairs { first or {}, second or {} } do
        for key in pairs(map) do
            if not seen[key] then
                seen[key] = true
                keys[#keys + 1] = key
            end
        end
    end
    table.sort(keys)
    return keys
end

local function table_difference(a, b)
    if not a then
        return "is one too many"
    elseif not b then
        return "is missing"
    elseif a.definition ~= b.definition then
        return "is defined otherwise"
    elseif a.derived then
        return nil -- its rows are worked out from others', anew by a restore
    elseif a.rows ~= b.rows then
        return string.format("has %d rows instead of %d", b.rows, a.rows)
    elseif a.hash ~= b.hash then
        return string.format("has other values in its %d rows", a.rows)
    end
end

local function object_difference(a, b)
    if a ~= b then
        return not a and "is one too many" or not b and "is missing" or "is defined otherwise"
    end
end

-- A sequence is not part of a transaction: that of a copy may be ahead.
local function sequence_difference(a, b)
    if a and b and type(a) == "number" and type(b) == "number" and b < a then
        return string.format("stands at %s instead of %s", b, a)
    elseif not a or not b then
        return object_difference(a, b)
    end
end

--- How `found` differs from `wanted`, a line each; none: they hold the same. `later(object)`: created after the rows were
--- compared, so that it may be missing.
function fingerprint.differences(wanted, found, later)
    local lines = {}
    local function compare(kind, first, second, difference)
        for _, key in ipairs(sorted_keys(first, second)) do
            local line = difference(first and first[key], second and second[key])
            if line and not (later and kind == "" and later(key)) then
                lines[#lines + 1] = kind .. key .. " " .. line
            end
        end
    end
    compare("table ", wanted.tables, found.tables, table_difference)
    compare("", wanted.objects, found.objects, object_difference)
    compare("sequence ", wanted.sequences, found.sequences, sequence_difference)
    local a, b = wanted.large_objects or { count = 0 }, found.large_objects or { count = 0 }
    if a.count ~= b.count or a.hash ~= b.hash then
        lines[#lines + 1] = string.format("%d large objects instead of %d, or others", b.count, a.count)
    end
    return lines
end

--- Raises "not_proven" where the two differ. `what`: "mysql: the backup, restored,".
function fingerprint.demand(what, wanted, found, later)
    local lines = fingerprint.differences(wanted, found, later)
    if #lines > 0 then
        rt.raise("not_proven", string.format("%s is not what was backed up:\n  %s%s", what,
            table.concat(lines, "\n  ", 1, math.min(#lines, SHOWN)),
            #lines > SHOWN and string.format("\n  and %d more", #lines - SHOWN) or ""))
    end
end

--- Rows that were written between two fingerprints, by table: at least the difference of counts, at least one where values
--- differ. → total, { table = rows }
function fingerprint.written(before, now)
    local total, where = 0, {}
    for _, name in ipairs(sorted_keys(before.tables, now.tables)) do
        local a, b = before.tables[name], now.tables[name]
        if not (a or b).derived and (not a or not b or a.rows ~= b.rows or a.hash ~= b.hash) then
            local count = math.max(a and b and 1 or 0, math.abs((b and b.rows or 0) - (a and a.rows or 0)))
            if count > 0 then
                total, where[name] = total + count, count
            end
        end
    end
    return total, where
end

--- → rows, tables
function fingerprint.count(found)
    local rows, tables = 0, 0
    for _, entry in pairs(found.tables) do
        rows, tables = rows + entry.rows, tables + 1
    end
    return rows, tables
end

return fingerprint
