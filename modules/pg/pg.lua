-- pg: PostgreSQL. A handle is pure: connections are opened by the effects that use it, kept for the next one, and closed
-- with the run. What it shares with mysql (statements, backups, restores) is in modules/database; here is the driver.
local native, rt = ...

local shared = rt.native("database")
local words = native.parts.words()
local M = { null = rt.json.null }

local databases = {} -- by id: what effects are given, since a journal cannot hold a handle
local READ_TIMEOUT, CONNECT_TIMEOUT = 30000, 10000

-- ---- the driver ----

local READS = { SELECT = true, SHOW = true, WITH = true, EXPLAIN = true, VALUES = true, TABLE = true }

local function open(database, role)
    local connection = native.connect(database.config, role == "admin" and "" or nil, database.connect_timeout)
    -- What a host that died has left running ends soon after it: who takes the run up waits for its marker. Not every
    -- server's system can do this.
    if role == "write" and native.server(connection) >= 140000 then
        pcall(native.query, connection, "SET client_connection_check_interval = '3s'", nil, { plain = true })
    end
    return connection
end

-- In a transaction of its own that cannot write: a session that cannot write would be another one behind a pooler.
local function read(connection, sql, params, options)
    options.read = true
    local result = table.pack(pcall(native.query, connection, sql, params, options))
    if not result[1] then
        native.close(connection) -- and that transaction with it
        error(result[2], 0)
    end
    return table.unpack(result, 2, result.n)
end

-- A session tells what it wrote to the server's counters up to a second later, or when it ends: what is counted then would
-- seem to have been written after the step (written.lua).
local function counted(connection)
    if native.server(connection) >= 150000 then
        native.query(connection, "SELECT pg_stat_force_next_flush()", nil, { plain = true })
    else
        native.close(connection)
    end
end

local driver = {
    name = "pg", counted = counted, null = M.null, native = native, databases = databases, reads = READS, tables = true,
    first_word = function(sql) return (words(sql)) end,
    open = open, read = read, marker = native.parts.marker(native, rt, words),
}
driver.inspect = native.parts.inspect(native, rt)
driver.backup = native.parts.backup(native, rt, driver, native.parts.fingerprint(native, rt))

local methods = shared.module(driver)

-- ---- the handle ----

local Database = rt.class("pg.database", methods, function(database)
    return "pg " .. database.id
end)

local OPTIONS = { timeout = "duration", connect_timeout = "duration", numeric = "string" }
local WHERE = { host = "text", port = "integer", user = "text", password = "text", database = "text", socket = "text",
    ca = "text", cert = "text", key = "text", tls = "string", schema = "text", options = "text" }
for name, kind in pairs(OPTIONS) do
    WHERE[name] = kind
end

--- A database. `where` is postgresql://user:password@host:port/name or { host, port, user, password, database, socket, ca,
--- cert, key, tls, schema, options }; options { timeout = "30s" (of a query), connect_timeout = "10s", numeric = "number" }.
--- Nothing is opened before an effect uses it.
function M.database(where, options)
    local given = rt.options(options or {}, OPTIONS, "pg.database")
    if type(where) == "table" then
        where = rt.options(where, WHERE, "pg.database")
        for name in pairs(OPTIONS) do
            given[name] = given[name] or where[name]
        end
    elseif type(where) ~= "string" and not rt.is_secret(where) then
        rt.raise("usage", "pg.database: expects a URL, postgresql://user:password@host:5432/app, or its parts { host, user, … }, "
            .. "not " .. type(where))
    end
    if given.numeric and given.numeric ~= "number" and given.numeric ~= "text" then
        rt.raise("usage", 'pg.database: numeric = "text" or "number", not "' .. given.numeric .. '"')
    end
    rt.open(where)
    local ok, config, facts = pcall(native.config, where, given.numeric == "number")
    if not ok then
        rt.raise(config.code, config.message) -- with the playbook's line
    end
    local id, count = facts.display, 1
    while databases[id] and not native.same(databases[id].config, config) do
        count = count + 1
        id = facts.display .. "#" .. count
    end
    local database = setmetatable({
        id = id,
        config = config,
        name = facts.database,
        timeout = given.timeout or READ_TIMEOUT,
        connect_timeout = given.connect_timeout or facts.connect_timeout or CONNECT_TIMEOUT,
    }, Database)
    databases[id] = database
    return database
end

return M
