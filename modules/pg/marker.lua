-- The marker of a write: a row of rollouthost.effects, committed with it. The table is in a schema of its own, so that it is
-- in no backup, no fingerprint and no tool's idea of the application's schema.
local native, _, words = ...

local marker = {}
local ready = setmetatable({}, { __mode = "k" }) -- connection → may it use the table

local CREATE = [[
CREATE SCHEMA IF NOT EXISTS rollouthost;
CREATE TABLE IF NOT EXISTS rollouthost.effects (key text PRIMARY KEY, result text, at timestamptz NOT NULL DEFAULT now());
COMMENT ON SCHEMA rollouthost IS 'What rollouthost has done here: a row for each write of a run that has not ended.']]

-- false: there is no such table; nil: it is not for this role.
local function usable(connection)
    local rows = native.query(connection, [[
        SELECT c.oid IS NOT NULL AS there, has_schema_privilege(s.oid, 'USAGE') AND
            has_table_privilege(c.oid, 'SELECT, INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND
            has_table_privilege(c.oid, 'DELETE') AS mine
        FROM pg_catalog.pg_namespace s LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = 'effects'
        WHERE s.nspname = 'rollouthost']])
    if not rows[1] or not rows[1].there then
        return false
    end
    return rows[1].mine or nil
end

--- May a marker stand beside a statement? Makes its table where there is none.
function marker.ensure(connection)
    if ready[connection] ~= nil then
        return ready[connection] or nil
    end
    local mine = usable(connection)
    if mine == false then
        -- Another session may be making it at the same time, and be first.
        pcall(native.query, connection, CREATE, nil, { plain = true })
        mine = usable(connection)
    end
    ready[connection] = mine or false
    return mine or nil
end

--- Waits for another session that has claimed the key and has not ended.
function marker.claim(connection, key)
    local _, info = native.query(connection, "INSERT INTO rollouthost.effects (key) VALUES ($1) ON CONFLICT DO NOTHING",
        { key })
    return info.affected == 1
end

function marker.keep(connection, key, text)
    native.query(connection, "UPDATE rollouthost.effects SET result = $1 WHERE key = $2", { text, key })
end

function marker.result(connection, key)
    local rows = native.query(connection, "SELECT result FROM rollouthost.effects WHERE key = $1", { key })
    return rows[1] and type(rows[1].result) == "string" and rows[1].result or nil
end

function marker.forget(connection, prefix)
    native.query(connection, "DELETE FROM rollouthost.effects WHERE starts_with(key, $1)", { prefix })
end

-- What no transaction can hold, or what begins and ends transactions of its own.
local ALONE = { VACUUM = true, CLUSTER = true, REINDEX = true, CALL = true, BEGIN = true, START = true, COMMIT = true,
    ["END"] = true, ROLLBACK = true, ABORT = true, PREPARE = true, CHECKPOINT = true, LOAD = true }

local PAIRS = { ["ALTER SYSTEM"] = true }
for _, verb in ipairs { "CREATE ", "DROP ", "ALTER " } do
    for _, object in ipairs { "DATABASE", "TABLESPACE", "SUBSCRIPTION" } do
        PAIRS[verb .. object] = true
    end
end

--- May this statement stand in a transaction with the marker?
function marker.transactional(sql)
    local first, second = words(sql)
    local text = sql:upper()
    if ALONE[first] or PAIRS[first .. " " .. second] then
        return false
    elseif first == "DO" then
        return not text:find("%f[%w]COMMIT%f[%W]") and not text:find("%f[%w]ROLLBACK%f[%W]")
    end
    return first == "REFRESH" or not text:find("%f[%w]CONCURRENTLY%f[%W]")
end

return marker
