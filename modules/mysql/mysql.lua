-- mysql: MariaDB and MySQL. A handle is pure: connections are opened by the effects that use it, kept for the next one, and
-- closed with the run. What it shares with pg (statements, backups, restores) is in modules/database; here is the driver.
local native, rt = ...

local shared = rt.native("database")
local M = { null = rt.json.null }

local databases = {} -- by id: what effects are given, since a journal cannot hold a handle
local READ_TIMEOUT, CONNECT_TIMEOUT = 30000, 10000

local function connect(database, schema_name)
    return native.connect(database.config, schema_name, database.connect_timeout)
end

-- ---- the driver ----

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

-- Reading and writing sessions are kept apart: a reading one refuses every write, also DROP TABLE.
local function open(database, role)
    local connection = connect(database, role == "admin" and "" or nil)
    if role == "read" then
        native.query(connection, "SET SESSION TRANSACTION READ ONLY", nil, { plain = true })
    end
    return connection
end

local function read(connection, sql, params, options)
    -- Some SHOW statements describe their columns only when they are executed.
    options.read = first_word(sql) ~= "SHOW"
    return native.query(connection, sql, params, options)
end

local driver = {
    name = "mysql", null = M.null, native = native, databases = databases, reads = READS, first_word = first_word,
    open = open, read = read, marker = native.parts.marker(native, rt, first_word),
}

local schema = native.parts.schema(native, rt)
local client = native.parts.client(native, rt, shared, driver)
local position = native.parts.position(native, rt, schema)
local rights = native.parts.rights(native, rt, schema)
driver.backup = native.parts.backup(native, rt, shared, driver, schema, client, position, rights)
native.parts.swap(native, rt, schema, client, driver.backup, rights, native.parts.gate(native, rt, schema, driver))

driver.inspect = native.parts.inspect(native, rt)

local methods = shared.module(driver)

-- ---- the handle ----

local Database = rt.class("mysql.database", methods, function(database)
    return "mysql " .. database.id
end)

local function configure(where, options)
    rt.open(where)
    if type(where) == "string" or rt.is_secret(where) then
        return native.config(where)
    elseif type(where) ~= "table" then
        rt.raise("usage", "mysql.database: expects a URL, mysql://user:password@host:3306/app, or its parts { host, user, … }, not "
            .. type(where))
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
