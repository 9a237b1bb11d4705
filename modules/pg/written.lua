-- What was written to a database since a moment: the server counts inserts, updates and deletes of each table. A moment is
-- plain data, taken in milliseconds whatever the size.
local native, rt, lib = ...

local databases, catalog = lib.databases, native.parts.catalog(rt)
local M = {}

-- The counters start anew with a crash of the server and with pg_stat_reset(); both can be seen. A session adds what it did to
-- them at the latest when it ends.
local EPOCH = [[SELECT d.oid::text AS database, COALESCE(s.stats_reset::text, '') AS reset,
        extract(epoch FROM pg_postmaster_start_time())::text AS started,
        (SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
            WHERE datid IS NULL AND usesysid IS NULL) AS processes,
        current_setting('track_counts') AS counted
    FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid WHERE d.datname = current_database()]]

-- relfilenode changes with TRUNCATE, which no counter tells.
local COUNTERS = [[SELECT n.nspname::text AS schema, c.relname::text AS name,
        pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
        pg_stat_get_tuples_deleted(c.oid) AS deleted, pg_stat_get_live_tuples(c.oid) AS live,
        c.relfilenode::bigint AS file
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'rollouthost')]]

--- This moment of the database that the connection is in: { epoch, tables = { name = { inserted, updated, deleted, live,
--- file } } }.
function M.position(connection)
    local epoch = databases.rows(connection, EPOCH)[1]
    local tables = {}
    for _, row in ipairs(databases.rows(connection, COUNTERS)) do
        tables[catalog.name(row.schema, row.name)] = { row.inserted, row.updated, row.deleted, row.live, row.file }
    end
    return { epoch = table.concat({ epoch.database, epoch.reset, epoch.started, epoch.processes }, " "),
        counted = epoch.counted == "on", tables = tables }
end

-- Rows of a table written between two moments; nil where its counters went backwards.
local function rows_between(old, new)
    if not old then
        return math.max(new[1] + new[2] + new[3], new[4]) -- a new table
    end
    local rows = 0
    for i = 1, 3 do
        if new[i] < old[i] then
            return nil
        end
        rows = rows + new[i] - old[i]
    end
    if rows == 0 and new[5] ~= old[5] then
        return old[4] -- emptied, or written anew by VACUUM FULL and its like
    end
    return rows
end

--- { rows, tables = { name = rows } } between that moment and now; nil and why where the counters do not tell.
function M.since(connection, position)
    local now = M.position(connection)
    if not now.counted or not position.counted then
        return nil, "the server does not count (track_counts is off)"
    elseif now.epoch ~= position.epoch then
        return nil, "the server's counters began anew: it was restarted, or its statistics were reset"
    end
    local total, tables = 0, {}
    for name, counters in pairs(now.tables) do
        local rows = rows_between(position.tables[name], counters)
        if not rows then
            return nil, "the counters of table " .. name .. " were reset"
        elseif rows > 0 then
            total, tables[name] = total + rows, rows
        end
    end
    for name, counters in pairs(position.tables) do
        if not now.tables[name] and counters[4] > 0 then
            total, tables[name] = total + counters[4], counters[4] -- dropped, or renamed
        end
    end
    return { rows = total, tables = tables }
end

return M
