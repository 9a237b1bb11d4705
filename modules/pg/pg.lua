-- pg: PostgreSQL. A handle is pure: connections are opened by the effects that use it, kept for the next one, and closed
-- with the run.
local native, rt = ...

local M = { null = rt.json.null }
local databases = {} -- by id: what effects are given, since a journal cannot hold a handle
local idle = {} -- by id: connections between two effects
local READ_TIMEOUT, CONNECT_TIMEOUT = 30000, 10000

local function with_connection(database, fn)
    local list = idle[database.id] or {}
    idle[database.id] = list
    local connection = table.remove(list)
    if not connection or not native.usable(connection) then
        connection = native.connect(database.config, nil, database.connect_timeout)
    end
    local result = table.pack(pcall(fn, connection))
    if not result[1] then
        native.close(connection)
        error(result[2], 0)
    end
    list[#list + 1] = connection
    return table.unpack(result, 2, result.n)
end

local function args_of(database, sql, ...)
    return { db = database.id, sql = sql, params = select("#", ...) > 0 and { ... } or nil }
end

local function describe(args)
    return args.db .. ": " .. args.sql
end

local function reader(verb, shape)
    return rt.effect {
        name = "pg." .. verb,
        class = "read",
        args = args_of,
        describe = describe,
        call = function(args)
            local database = databases[args.db]
            return with_connection(database, function(connection)
                return shape(native.query(connection, args.sql, args.params,
                    { read = true, timeout = database.timeout, numbers = database.numbers }))
            end)
        end,
        sample = function() return rt.unknown("rows") end,
    }
end

local exec = rt.effect {
    name = "pg.exec",
    class = "unsafe",
    args = args_of,
    describe = describe,
    call = function(args)
        return with_connection(databases[args.db], function(connection)
            local rows, info = native.query(connection, args.sql, args.params)
            return { affected = info.affected, notices = info.notices, rows = rt.json.array(rows) }
        end)
    end,
    sample = function() return { affected = 1, notices = {}, rows = {} } end,
    destructive = function(args) return args.sql end,
}

local Database = rt.class("pg.database", {
    query = reader("query", function(rows) return rt.json.array(rows) end),
    one = reader("one", function(rows) return rows[1] end),
    value = reader("value", function(rows, info)
        local value = rows[1] and rows[1][info.columns[1]]
        return value ~= M.null and value or nil
    end),
    exec = exec,
}, function(database) return "pg " .. database.id end)

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
    end
    if given.numeric and given.numeric ~= "number" and given.numeric ~= "text" then
        rt.raise("usage", 'pg.database: numeric = "text" or "number", not "' .. given.numeric .. '"')
    end
    local config, facts = native.config(where)
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
        connect_timeout = given.connect_timeout or CONNECT_TIMEOUT,
        numbers = given.numeric == "number",
    }, Database)
    databases[id] = database
    return database
end

return M
