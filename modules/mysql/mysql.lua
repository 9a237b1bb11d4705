-- mysql: MariaDB and MySQL. A handle is pure: connections are opened by the effects that use it, kept for the next one, and
-- closed with the run. Backups are in dump.lua, their way back in restore.lua.
local native, rt = ...

local schema = native.schema(native, rt)
local client = native.client(native, rt)
local M = { null = rt.json.null }

local null = rt.json.null
local databases = {} -- by id: what effects are given, since a journal cannot hold a handle
local idle = {} -- by id and role: connections between two effects
local READ_TIMEOUT, CONNECT_TIMEOUT = 30000, 10000

-- ---- connections ----

local function connect(database, schema_name)
    return native.connect(database.config, schema_name, database.connect_timeout)
end

-- Reading and writing sessions are kept apart: a reading one refuses every write, also DROP TABLE.
local function lease(database, role)
    local list = idle[database.id .. " " .. role] or {}
    idle[database.id .. " " .. role] = list
    while #list > 0 do
        local connection = table.remove(list)
        if native.usable(connection) then
            return connection, list, true
        end
    end
    local connection = connect(database)
    if role == "read" then
        native.query(connection, "SET SESSION TRANSACTION READ ONLY", nil, { plain = true })
    end
    return connection, list, false
end

local function with_connection(database, role, fn)
    local connection, list, reused = lease(database, role)
    local result = table.pack(pcall(fn, connection))
    if native.usable(connection) then
        list[#list + 1] = connection
    end
    if not result[1] and reused and role == "read" and result[2].code == "lost_connection" then
        return with_connection(database, role, fn)
    end
    if not result[1] then
        error(result[2], 0)
    end
    return table.unpack(result, 2, result.n)
end

-- ---- statements ----

local READS = { SELECT = true, SHOW = true, WITH = true, EXPLAIN = true, DESCRIBE = true, DESC = true, VALUES = true,
    TABLE = true, CHECKSUM = true }

-- The statement's first word, after comments and opening brackets. An executable comment is no comment.
local function first_word(sql)
    local at = 1
    while true do
        local start = sql:find("[^%s(]", at) or #sql + 1
        local comment = sql:match("^%-%-%s[^\n]*\n?()", start) or sql:match("^#[^\n]*\n?()", start)
            or (not sql:find("^/%*M?!", start) and sql:match("^/%*.-%*/()", start))
        if not comment then
            return (sql:match("^%a*", start)):upper()
        end
        at = comment
    end
end

local function one_line(sql)
    local line = sql:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
    return #line > 160 and line:sub(1, 157) .. "…" or line
end

local function check_sql(where, sql)
    if rt.is_secret(sql) then
        rt.raise("usage", where .. ": the statement is a secret: pass secret values as parameters")
    elseif type(sql) ~= "string" or not sql:find("%S") then
        rt.raise("usage", where .. ": expected a statement, got " .. (sql == "" and "an empty string" or type(sql)))
    end
end

local function check_params(where, ...)
    local count = select("#", ...)
    if count == 0 then
        return nil
    end
    local params = { ... }
    for i = 1, count do
        local kind = type(params[i])
        if params[i] == nil then
            rt.raise("usage", string.format("%s: parameter %d is nil: mysql.null is SQL's NULL", where, i))
        elseif not (kind == "string" or kind == "number" or kind == "boolean" or params[i] == null
            or rt.is_secret(params[i])) then
            rt.raise("usage", string.format("%s: parameter %d is a %s: give a string, number, boolean or mysql.null",
                where, i, kind))
        end
    end
    return params
end

local function check_read(where, sql)
    local word = first_word(sql)
    if not READS[word] then
        rt.raise("usage", string.format("%s reads, and `%s` does not begin like a statement that reads; use db:exec in a"
            .. " step for what writes", where, one_line(sql)))
    end
end

local function describe(verb)
    return function(args)
        return verb .. " " .. args.db .. (args.sql and ": " .. one_line(args.sql) or "")
    end
end

local function read_rows(connection, args, database)
    -- Some SHOW statements describe their columns only when they are executed.
    local read = first_word(args.sql) ~= "SHOW"
    local timeout = database.timeout
    local result = table.pack(pcall(native.query, connection, args.sql, args.params, { read = read, timeout = timeout }))
    if result[1] then
        return result[2], result[3]
    elseif result[2].code == "timeout" then
        rt.raise("timeout", string.format("mysql: not finished within %g s, and cancelled: %s", timeout / 1000,
            one_line(args.sql)))
    end
    error(result[2], 0)
end

local shapes = {}

function shapes.query(rows)
    return rt.json.array(rows)
end

function shapes.one(rows, args)
    if #rows > 1 then
        rt.raise("rows", string.format("mysql.one: %d rows, expected one at most, in: %s", #rows, one_line(args.sql)))
    end
    return rows[1]
end

function shapes.value(rows, args, columns)
    if #rows > 1 or #columns ~= 1 then
        rt.raise("rows", string.format("mysql.value: %d row%s of %d column%s, expected one value, in: %s", #rows,
            #rows == 1 and "" or "s", #columns, #columns == 1 and "" or "s", one_line(args.sql)))
    end
    local value = rows[1] and rows[1][columns[1]]
    if value == null then
        return nil
    end
    return value
end

local function reader(verb)
    return rt.effect {
        name = "mysql." .. verb,
        class = "read",
        args = function(database, sql, ...)
            check_sql("mysql." .. verb, sql)
            check_read("mysql." .. verb, sql)
            return { db = database.id, sql = sql, params = check_params("mysql." .. verb, ...) }
        end,
        describe = describe("query"),
        call = function(args)
            local database = databases[args.db]
            return with_connection(database, "read", function(connection)
                local rows, info = read_rows(connection, args, database)
                return shapes[verb](rows, args, info.columns)
            end)
        end,
        sample = function(args)
            return rt.unknown("result of " .. one_line(args.sql))
        end,
    }
end

-- A session's open transaction would be lost, without a word, with its connection.
local function check_closed(connection, info, args)
    if info.open then
        native.close(connection)
        rt.raise("usage", "mysql.exec: the statement leaves a transaction open, which was rolled back; use"
            .. " db:transaction(function(tx) … end), in: " .. one_line(args.sql))
    end
end

local function written(rows, info)
    return {
        affected = info.affected,
        insert_id = info.insert_id ~= 0 and info.insert_id or nil,
        warnings = info.warnings,
        rows = #info.columns > 0 and rt.json.array(rows) or nil,
    }
end

local exec = rt.effect {
    name = "mysql.exec",
    class = "unsafe",
    args = function(database, sql, ...)
        check_sql("mysql.exec", sql)
        return { db = database.id, sql = sql, params = check_params("mysql.exec", ...) }
    end,
    describe = describe("exec"),
    call = function(args)
        local database = databases[args.db]
        return with_connection(database, "write", function(connection)
            local rows, info = native.query(connection, args.sql, args.params)
            check_closed(connection, info, args)
            return written(rows, info)
        end)
    end,
    sample = function()
        return { affected = 1, warnings = 0, rows = {} }
    end,
    destructive = function(args)
        return args.sql
    end,
}

-- ---- transactions ----

local bodies = setmetatable({}, { __mode = "k" }) -- args table → function: a journal cannot hold one

local Transaction = rt.class("mysql.transaction", {
    query = function(tx, sql, ...)
        check_sql("tx:query", sql)
        return rt.json.array((native.query(tx.connection, sql, check_params("tx:query", ...), { read = true })))
    end,
    one = function(tx, sql, ...)
        check_sql("tx:one", sql)
        local rows = native.query(tx.connection, sql, check_params("tx:one", ...), { read = true })
        return shapes.one(rows, { sql = sql })
    end,
    value = function(tx, sql, ...)
        check_sql("tx:value", sql)
        local rows, info = native.query(tx.connection, sql, check_params("tx:value", ...), { read = true })
        return shapes.value(rows, { sql = sql }, info.columns)
    end,
    exec = function(tx, sql, ...)
        check_sql("tx:exec", sql)
        local rows, info = native.query(tx.connection, sql, check_params("tx:exec", ...))
        if not info.open then
            rt.raise("usage", "mysql.transaction: this statement ended the transaction by itself (MariaDB commits before"
                .. " it), in: " .. one_line(sql))
        end
        return written(rows, info)
    end,
}, function()
    return "mysql transaction"
end)

local transaction = rt.effect {
    name = "mysql.transaction",
    class = "unsafe",
    args = function(database, fn)
        if type(fn) ~= "function" then
            rt.raise("usage", "db:transaction: expected a function, got " .. type(fn))
        end
        local args = { db = database.id }
        bodies[args] = fn
        return args
    end,
    describe = describe("transaction in"),
    call = function(args)
        local database = databases[args.db]
        return with_connection(database, "write", function(connection)
            native.query(connection, "START TRANSACTION", nil, { plain = true })
            local result = table.pack(pcall(bodies[args], setmetatable({ connection = connection }, Transaction)))
            if not result[1] then
                if native.usable(connection) then
                    native.query(connection, "ROLLBACK", nil, { plain = true, must = true })
                end
                error(result[2], 0)
            end
            native.query(connection, "COMMIT", nil, { plain = true })
            return result[2]
        end)
    end,
    sample = function()
        return rt.unknown("result of the transaction")
    end,
}

-- ---- backups and fingerprints ----

local fingerprints = rt.effect {
    name = "mysql.fingerprints",
    class = "read",
    args = function(database)
        return { db = database.id, database = client.need_database(database, "db:fingerprints") }
    end,
    describe = describe("fingerprint"),
    call = function(args)
        local connection = connect(databases[args.db])
        schema.begin_snapshot(connection)
        local found = schema.fingerprint(connection, args.database)
        native.close(connection)
        return found
    end,
    sample = function()
        return { tables = rt.unknown("fingerprints"), objects = rt.unknown("fingerprints") }
    end,
}

local lib = { schema = schema, client = client, connect = connect, databases = databases }
local dump = native.dump(native, rt, lib)
local restore = native.restore(native, rt, lib)

-- ---- the handle ----

local Database = rt.class("mysql.database", {
    query = reader "query",
    one = reader "one",
    value = reader "value",
    exec = exec,
    transaction = transaction,
    fingerprints = fingerprints,
    dump = dump,
    restore = restore,
}, function(database)
    return "mysql " .. database.id
end)

local function configure(where, options)
    if type(where) == "string" or rt.is_secret(where) then
        return native.config(where)
    end
    local given = rt.options(where, {
        host = "text", port = "integer", user = "text", password = "text", database = "text", socket = "text", ca = "text",
        tls = "string", timeout = "duration", connect_timeout = "duration",
    }, "mysql.database")
    options.timeout = given.timeout or options.timeout
    options.connect_timeout = given.connect_timeout or options.connect_timeout
    return native.config(given)
end

--- A database. `where` is mysql://user:password@host:port/name or { host, port, user, password, database, socket, ca, tls };
--- options { timeout = "30s" (of a query), connect_timeout = "10s" }. Nothing is opened before an effect uses it.
function M.database(where, options)
    local given = rt.options(options or {}, { timeout = "duration", connect_timeout = "duration" }, "mysql.database")
    local config, facts = configure(where, given)
    local id, count = facts.display, 1
    while databases[id] and not native.same(databases[id].config, config) do
        count = count + 1
        id = facts.display .. "#" .. count
    end
    local database = setmetatable({
        id = id,
        config = config,
        name = facts.database or false,
        timeout = given.timeout or READ_TIMEOUT,
        connect_timeout = given.connect_timeout or CONNECT_TIMEOUT,
    }, Database)
    databases[id] = database
    return database
end

return M
