-- Where a schema stands, cheaply: when each table was written to last, as the server remembers it in memory, to the second.
-- Later it tells which tables need not be looked at; those that were written to are counted and hashed again.
local _, rt, schema = ...

local position = {}
local EXACT_BYTES = 256 << 20 -- of tables that are hashed after a step; of larger ones the backup's hashes have to do
local null = rt.json.null

local function number(value)
    return value ~= null and value ~= nil and (math.tointeger(tonumber(value)) or tonumber(value)) or false
end

local function shown(connection, kind, name)
    local row = schema.rows(connection, "SHOW GLOBAL " .. kind .. " LIKE '" .. name .. "'")[1]
    return row and number(row.Value) or 0
end

-- Beyond its cache the server forgets tables, and when they were written to.
local function forgets(connection)
    local room = shown(connection, "VARIABLES", "table_definition_cache")
    local ok, rows = pcall(schema.rows, connection, "SELECT COUNT(*) AS n FROM information_schema.innodb_sys_tables")
    return (ok and number(rows[1].n) or shown(connection, "STATUS", "Opened_table_definitions")) >= room
end

local SUM = "SELECT COUNT(*) AS n, SUM(CAST(CONV(LEFT(MD5(CONCAT_WS('|',%s)),15),16,10) AS DECIMAL(20,0))) AS total"
    .. " FROM information_schema.%s WHERE %s = ? AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$'"
local SUM_CODE = SUM:gsub(" AND table_name.*$", "")

-- What defines the schema, of any order.
local DIGESTS = {
    SUM:format("table_name,column_name,ordinal_position,column_type,is_nullable,column_default,extra,collation_name",
        "columns", "table_schema"),
    SUM:format("table_name,index_name,seq_in_index,column_name,non_unique,sub_part", "statistics", "table_schema"),
    SUM:format("table_name,constraint_name,constraint_type", "table_constraints", "table_schema"),
    SUM:format("table_name,constraint_name,referenced_table_name,update_rule,delete_rule", "referential_constraints",
        "constraint_schema"),
    SUM:format("table_name,view_definition", "views", "table_schema"),
    SUM_CODE:format("trigger_name,event_object_table,action_statement,action_timing,event_manipulation", "triggers",
        "trigger_schema"),
    SUM_CODE:format("routine_name,routine_type,routine_definition", "routines", "routine_schema"),
    SUM_CODE:format("event_name,event_definition,status", "events", "event_schema"),
}

local function digest(connection, name)
    local parts = {}
    for i, sql in ipairs(DIGESTS) do
        local row = schema.rows(connection, sql, name)[1]
        parts[i] = row.n .. ":" .. tostring(row.total)
    end
    return rt.sha256(table.concat(parts, " ")):sub(1, 32)
end

local function times(connection, name)
    -- MySQL keeps what it shows of tables for a day.
    pcall(schema.run, connection, "SET SESSION information_schema_stats_expiry = 0")
    local found, bytes = {}, 0
    for _, row in ipairs(schema.rows(connection, "SELECT table_name AS name, UNIX_TIMESTAMP(update_time) AS written,"
        .. " UNIX_TIMESTAMP(create_time) AS created, COALESCE(data_length, 0) AS bytes FROM information_schema.tables"
        .. " WHERE table_schema = ? AND table_type = 'BASE TABLE'"
        .. " AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$'", name)) do
        found[row.name] = { number(row.written), number(row.created) }
        bytes = bytes + (number(row.bytes) or 0)
    end
    return found, bytes
end

local function just_written(tables, at)
    for _, times_of in pairs(tables) do
        if times_of[1] and times_of[1] >= at - 1 then
            return true
        end
    end
    return false
end

-- What tells whether the times of writing say something: { at, started (by the server's clock), sessions (since then), forgets }.
local function look(connection)
    local clock = number(schema.rows(connection, "SELECT UNIX_TIMESTAMP() AS now")[1].now)
    return { at = clock, started = clock - shown(connection, "STATUS", "Uptime"),
        sessions = shown(connection, "STATUS", "Connections"), forgets = forgets(connection) }
end

--- { at, started, sessions, forgets, schema, tables = { name = { written, created } } } and, where `exact`,
--- rows = { name = { rows, hash } } of a schema that is not large.
function position.take(connection, name, exact)
    local found = look(connection)
    local tables, bytes = times(connection, name)
    if exact and just_written(tables, found.at) then
        -- The server remembers seconds: what was written in this one would have to be counted at a restore, which is in a
        -- hurry. A step that wrote is not.
        schema.run(connection, "DO SLEEP(2)")
        found = look(connection)
        tables, bytes = times(connection, name)
    end
    found.tables, found.schema = tables, digest(connection, name)
    if exact and bytes <= EXACT_BYTES then
        found.rows = schema.row_hashes(connection, name, tables)
    end
    return found
end

local function maybe_written(a, b, at, renamed)
    return a[1] ~= b[1] or (a[2] ~= b[2] and not renamed) or (b[1] and b[1] >= at - 1)
end

-- Why the times of writing say nothing; nil: they do.
local function unknown(before, now)
    if math.abs(now.started - before.started) > 1 or now.sessions < before.sessions then
        return "the server was started again"
    elseif now.forgets or before.forgets then
        return "the server has more tables than its table_definition_cache remembers"
    end
end

--- → { rows, tables = { name = rows } } that were written to `name` since `before`; nil, why where that cannot be known.
--- `base`: rows and hashes of that moment, where `before` has none.
function position.written_since(connection, name, before, base, renamed)
    local why = unknown(before, look(connection))
    if why and not before.rows then
        return nil, why
    end
    base = before.rows or base
    local suspects = {}
    for tab, times_of in pairs((times(connection, name))) do
        local old = before.tables[tab]
        if why or not old or maybe_written(old, times_of, before.at, renamed) then
            suspects[tab] = true
        end
    end
    local rows, tables = 0, {}
    for tab, entry in pairs(schema.row_hashes(connection, name, suspects)) do
        local old = base[tab] or { rows = 0, hash = "" }
        if old.rows ~= entry.rows or old.hash ~= entry.hash then
            local count = base[tab] and math.max(1, math.abs(entry.rows - old.rows)) or entry.rows
            if count > 0 then
                rows, tables[tab] = rows + count, count
            end
        end
    end
    return { rows = rows, tables = tables }
end

return position
