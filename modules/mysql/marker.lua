-- The marker of a write: a row of rollouthost.done, committed with it. The table is in a schema of its own, so that it is
-- in no backup, no fingerprint and no tool's idea of the application's schema.
local native, _, first_word = ...

local marker = {}
local ready = setmetatable({}, { __mode = "k" }) -- connections that have seen the table

local CREATE = [[CREATE TABLE IF NOT EXISTS rollouthost.done (mark CHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,
    result MEDIUMTEXT, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4]]

local function plain(connection, sql)
    return pcall(native.query, connection, sql, nil, { plain = true })
end

local function rows(connection, sql, ...)
    return (native.query(connection, sql, { ... }))
end

-- A table without transactions keeps what a ROLLBACK takes from the marker.
local function only_transactional(connection, sql)
    local here = rows(connection, "SELECT DATABASE() AS name")[1].name
    if type(here) ~= "string" then
        return false
    end
    local names = { here }
    for _, row in ipairs(rows(connection, "SELECT schema_name AS name FROM information_schema.schemata")) do
        if sql and sql:lower():find(row.name:lower(), 1, true) then
            names[#names + 1] = row.name
        end
    end
    return #rows(connection, "SELECT 1 AS found FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        .. " AND engine <> 'InnoDB' AND table_schema IN (?" .. (", ?"):rep(#names - 1) .. ") LIMIT 1",
        table.unpack(names)) == 0
end

--- May a marker stand beside that statement (nil: whatever a transaction does)? Makes its table where there is none.
function marker.ensure(connection, sql)
    if not only_transactional(connection, sql) then
        return nil
    end
    if not ready[connection] and not plain(connection, "SELECT 1 FROM rollouthost.done LIMIT 0") then
        plain(connection, "CREATE DATABASE IF NOT EXISTS rollouthost CHARACTER SET utf8mb4")
        if not plain(connection, CREATE) then
            return nil
        end
    end
    ready[connection] = true
    return true
end

--- Waits for another session that has claimed the key and has not ended.
function marker.claim(connection, key)
    local ok, err = pcall(native.query, connection, "INSERT INTO rollouthost.done (mark) VALUES (?)", { key })
    if not ok and err.code ~= "duplicate" then
        error(err, 0)
    end
    return ok
end

function marker.keep(connection, key, text)
    native.query(connection, "UPDATE rollouthost.done SET result = ? WHERE mark = ?", { text, key })
end

function marker.result(connection, key)
    local row = rows(connection, "SELECT result FROM rollouthost.done WHERE mark = ?", key)[1]
    return row and type(row.result) == "string" and row.result or nil
end

function marker.forget(connection, prefix)
    native.query(connection, "DELETE FROM rollouthost.done WHERE mark LIKE ?", { prefix .. "%" })
end

local WITHIN = { INSERT = true, UPDATE = true, DELETE = true, REPLACE = true, WITH = true }

--- MariaDB commits by itself before whatever defines something, and what a procedure does is not known.
function marker.transactional(sql)
    return WITHIN[first_word(sql)] or false
end

return marker
