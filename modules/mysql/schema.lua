-- What a schema holds, and whether two hold the same: tables by count and order-independent hash of their rows, and the
-- definitions of tables, triggers, views, routines and events.
local native, rt = ...

local schema = {}
local null = rt.json.null
local AT_ONCE = 50 -- tables that a snapshot holds

function schema.quote(name)
    return "`" .. name:gsub("`", "``") .. "`"
end

local quote = schema.quote

--- One statement without rows, as it is. It is not cut short, so that cleaning up works in a task that is being cancelled;
--- what may have to wait, waits for lock_wait_timeout.
function schema.run(connection, sql, ...)
    native.query(connection, select("#", ...) > 0 and string.format(sql, ...) or sql, nil,
        { plain = true, must = true })
end

function schema.rows(connection, sql, ...)
    return (native.query(connection, sql, select("#", ...) > 0 and { ... } or nil))
end

-- What a user or a server may limit or end by itself: a backup takes as long as it takes.
local UNLIMITED = { "max_statement_time = 0", "max_execution_time = 0", "idle_transaction_timeout = 0",
    "idle_readonly_transaction_timeout = 0", "wait_timeout = 28800", "sql_big_selects = 1" }

--- Settings under which equal values have equal text, and no statement is cut short.
function schema.settle_session(connection, lock_seconds)
    schema.run(connection, "SET SESSION time_zone = '+00:00', sql_mode = '', sql_quote_show_create = 1, lock_wait_timeout = %d",
        lock_seconds)
    for _, setting in ipairs(UNLIMITED) do
        local ok, err = pcall(schema.run, connection, "%s", "SET SESSION " .. setting)
        if not ok and (type(err.detail) ~= "table" or err.detail.errno ~= 1193) then -- MariaDB's and MySQL's differ
            error(err, 0)
        end
    end
end

--- A consistent snapshot.
function schema.begin_snapshot(connection)
    schema.settle_session(connection, 30)
    schema.run(connection, "SET SESSION group_concat_max_len = 1048576")
    schema.run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    schema.run(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
    schema.run(connection, "SAVEPOINT rollouthost")
end

-- Lets go of the tables that were read in the snapshot. The server looks through all that a transaction holds whenever it opens
-- one: with thousands that takes longer than reading them.
local function let_go(connection)
    schema.run(connection, "ROLLBACK TO SAVEPOINT rollouthost")
end

--- The schema's tables by name: { kind = "BASE TABLE" | "SEQUENCE" | …, engine, bytes }. Views are objects.
function schema.tables(connection, name)
    local tables, names = {}, {}
    for _, row in ipairs(schema.rows(connection, "SELECT table_name AS name, table_type AS kind, engine AS engine,"
        .. " COALESCE(data_length, 0) AS bytes FROM information_schema.tables"
        .. " WHERE table_schema = ? AND table_type NOT IN ('VIEW', 'SYSTEM VIEW')"
        .. " AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$' ORDER BY table_name", name)) do
        tables[row.name] = { kind = row.kind, engine = row.engine ~= null and row.engine or "?",
            bytes = math.tointeger(row.bytes) or math.tointeger(tonumber(row.bytes)) or 0 }
        names[#names + 1] = row.name
    end
    return tables, names
end

--- The names of the schema's tables, in order, and { name = kind }. Unlike schema.tables it has the server open none of them:
--- milliseconds instead of seconds with thousands.
function schema.names(connection, name)
    local names, kinds = {}, {}
    for i, row in ipairs(schema.rows(connection, "SELECT table_name AS name, table_type AS kind FROM information_schema.tables"
        .. " WHERE table_schema = ? AND table_type NOT IN ('VIEW', 'SYSTEM VIEW')"
        .. " AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$' ORDER BY table_name", name)) do
        names[i], kinds[row.name] = row.name, row.kind
    end
    return names, kinds
end

--- Default character set and collation of a schema, or nil where there is none of that name.
function schema.defaults(connection, name)
    local row = schema.rows(connection, "SELECT default_character_set_name AS charset, default_collation_name AS collation"
        .. " FROM information_schema.schemata WHERE schema_name = ?", name)[1]
    return row
end

function schema.create(connection, name, defaults)
    schema.run(connection, "CREATE DATABASE %s CHARACTER SET %s COLLATE %s", quote(name), defaults.charset,
        defaults.collation)
end

-- ---- rows ----

local function set(words)
    local found = {}
    for word in words:gmatch "%a+" do
        found[word] = true
    end
    return found
end

local NUMBERS = set "tinyint smallint mediumint int bigint decimal double float date time datetime timestamp year"
local LARGE = set "mediumtext longtext mediumblob longblob json geometry point linestring polygon multipoint multilinestring"
LARGE.multipolygon, LARGE.geometrycollection = true, true

-- A column as bytes that tell NULL and every neighbour apart. Floats are compared as a dump writes them; what may be larger
-- than a packet is hashed by itself, since a string that is too long becomes NULL without a word.
local function column_expression(column)
    local name = quote(column.name)
    if column.type == "bit" then
        return "IFNULL(" .. name .. "+0,'N')"
    elseif NUMBERS[column.type] then
        return "IFNULL(" .. name .. ",'N')"
    elseif LARGE[column.type] then
        return "IFNULL(MD5(" .. name .. "),'N')"
    end
    return string.format("IFNULL(LENGTH(%s),'N'),IFNULL(CAST(%s AS BINARY),'')", name, name)
end

local function columns_by_table(connection, name)
    local found = {}
    for _, row in ipairs(schema.rows(connection, "SELECT table_name AS tab, column_name AS name, data_type AS type"
        .. " FROM information_schema.columns WHERE table_schema = ? ORDER BY table_name, ordinal_position", name)) do
        found[row.tab] = found[row.tab] or {}
        table.insert(found[row.tab], row)
    end
    return found
end

local function row_hash(connection, name, tab, columns)
    local parts = {}
    for i, column in ipairs(columns) do
        parts[i] = column_expression(column)
    end
    -- The sum of 60 bits of each row's hash: of any order, and twice the same row is not none. A row without a hash adds what
    -- no sum of hashes reaches.
    local row = schema.rows(connection, string.format("SELECT COUNT(*) AS n, SUM(IFNULL(CAST(CONV(LEFT(MD5("
        .. "CONCAT_WS('|',%s)),15),16,10) AS DECIMAL(20,0)),1%s)) AS total FROM %s.%s",
        table.concat(parts, ","), ("0"):rep(40), quote(name), quote(tab)))[1]
    local total = row.total ~= null and row.total or "0"
    if #total > 40 then
        rt.raise("fingerprint", string.format("mysql: table %s has rows that are too long to be hashed", tab))
    end
    return row.n, rt.sha256(total):sub(1, 32)
end

--- { name = { rows, hash } } of those tables (the keys of `some`).
function schema.row_hashes(connection, name, some)
    local columns, found = columns_by_table(connection, name), {}
    for tab in pairs(some) do
        local rows, hash = row_hash(connection, name, tab, columns[tab])
        found[tab] = { rows = rows, hash = hash }
    end
    return found
end

-- ---- definitions ----

local function create_statement(connection, kind, name, column)
    return schema.rows(connection, "SHOW CREATE " .. kind .. " " .. quote(name))[1][column]
end

local function table_definition(connection, tab, kind)
    if kind == "SEQUENCE" then
        return create_statement(connection, "SEQUENCE", tab, "Create Table")
    end
    return (create_statement(connection, "TABLE", tab, "Create Table"):gsub(" AUTO_INCREMENT=%d+", ""))
end

local LISTS = {
    { "FUNCTION", "Create Function", "SELECT routine_name AS name FROM information_schema.routines WHERE routine_schema = ?"
        .. " AND routine_type = 'FUNCTION' ORDER BY routine_name" },
    { "PROCEDURE", "Create Procedure", "SELECT routine_name AS name FROM information_schema.routines"
        .. " WHERE routine_schema = ? AND routine_type = 'PROCEDURE' ORDER BY routine_name" },
    { "PACKAGE", "Create Package", "SELECT routine_name AS name FROM information_schema.routines"
        .. " WHERE routine_schema = ? AND routine_type = 'PACKAGE' ORDER BY routine_name" },
    { "PACKAGE BODY", "Create Package Body", "SELECT routine_name AS name FROM information_schema.routines"
        .. " WHERE routine_schema = ? AND routine_type = 'PACKAGE BODY' ORDER BY routine_name" },
    { "VIEW", "Create View", "SELECT table_name AS name FROM information_schema.views WHERE table_schema = ?"
        .. " ORDER BY table_name" },
    { "TRIGGER", "SQL Original Statement", "SELECT trigger_name AS name, event_object_table AS tab"
        .. " FROM information_schema.triggers WHERE trigger_schema = ?"
        .. " ORDER BY event_object_table, action_timing, event_manipulation, action_order" },
    { "EVENT", "Create Event", "SELECT event_name AS name FROM information_schema.events WHERE event_schema = ?"
        .. " ORDER BY event_name" },
}

local function text_or_nil(value)
    return type(value) == "string" and value or nil
end

-- A view whose definer has no right to a copy is none there, so that a copy's run under the rights of who asks (client.lua).
local function as_defined(sql)
    return (sql:gsub("^(CREATE ALGORITHM=%u+ DEFINER=.- SQL SECURITY )INVOKER( VIEW )", "%1DEFINER%2", 1))
end

-- Bodies are kept as the bytes of the character set that they were written in: hex where they are not UTF-8.
local function object(connection, kind, column, row, invokers)
    local shown = schema.rows(connection, "SHOW CREATE " .. kind .. " " .. quote(row.name))[1]
    local sql = text_or_nil(shown[column])
    if not sql then
        rt.raise("privileges", string.format("mysql: the user may not see the definition of %s %s, so a backup would lack"
            .. " it: GRANT SELECT ON mysql.proc (from MariaDB 11.3 on SHOW CREATE ROUTINE will do)", kind:lower(), row.name))
    end
    if kind == "VIEW" and invokers and not invokers[row.name] then
        sql = as_defined(sql)
    end
    local found = { kind = kind, name = row.name, tab = row.tab, sql_mode = text_or_nil(shown.sql_mode),
        charset = text_or_nil(shown.character_set_client), collation = text_or_nil(shown.collation_connection),
        time_zone = text_or_nil(shown.time_zone) }
    if utf8.len(sql) then
        found.sql = sql
    else
        found.hex = sql:gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
    end
    found.hash = rt.sha256(table.concat({ sql, found.sql_mode or "", found.charset or "", found.collation or "",
        found.time_zone or "" }, "\0")):sub(1, 32)
    return found
end

local function body(found)
    return found.sql or (found.hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

--- The schema's code in the order in which it can be created again. `invokers`: of a copy, the names (keys) of the views that
--- are meant to run under the rights of who asks.
function schema.objects(connection, name, invokers)
    local objects = {}
    schema.run(connection, "USE " .. quote(name))
    schema.run(connection, "SET SESSION character_set_results = NULL")
    for _, list in ipairs(LISTS) do
        for _, row in ipairs(schema.rows(connection, list[3], name)) do
            objects[#objects + 1] = object(connection, list[1], list[2], row, invokers)
        end
    end
    schema.run(connection, "SET SESSION character_set_results = utf8mb4")
    return objects
end

--- The names (keys) of the views among `objects` that run under the rights of who asks.
function schema.invokers(objects)
    local names = {}
    for _, found in ipairs(objects) do
        if found.kind == "VIEW" and as_defined(body(found)) ~= body(found) then
            names[found.name] = true
        end
    end
    return names
end

local function object_key(found)
    return found.kind:lower() .. " " .. found.name
end

function schema.object_hashes(objects)
    local hashes = {}
    for _, found in ipairs(objects) do
        hashes[object_key(found)] = found.hash
    end
    return hashes
end

-- ---- fingerprints ----

--- { tables = { name = { rows, hash, definition } }, objects = { "trigger x" = hash } }, objects: of what a snapshot sees
--- (begin_snapshot). `each(done, total)` is called after each table. `invokers` as above.
function schema.fingerprint(connection, name, each, invokers)
    local names, kinds = schema.names(connection, name)
    local columns = columns_by_table(connection, name)
    local found = {}
    schema.run(connection, "USE " .. quote(name))
    for i, tab in ipairs(names) do
        local kind = kinds[tab]
        local entry = { definition = rt.sha256(table_definition(connection, tab, kind)):sub(1, 32), rows = 0, hash = "" }
        if kind ~= "SEQUENCE" then
            entry.rows, entry.hash = row_hash(connection, name, tab, columns[tab])
        end
        found[tab] = entry
        if i % AT_ONCE == 0 then
            let_go(connection)
        end
        if each then
            each(i, #names)
        end
    end
    local objects = schema.objects(connection, name, invokers)
    return { tables = found, objects = schema.object_hashes(objects) }, objects
end

-- ---- creating code again ----

local function text(value)
    return "'" .. value:gsub("[\\']", "%0%0") .. "'"
end

local function create_object(connection, found)
    schema.run(connection, "SET SESSION sql_mode = %s, time_zone = %s", text(found.sql_mode or ""),
        text(found.time_zone or "SYSTEM"))
    if found.charset then
        schema.run(connection, "SET SESSION character_set_client = %s, collation_connection = %s", found.charset,
            found.collation)
    end
    local ok, err = pcall(native.query, connection, (body(found):gsub("^CREATE ", "CREATE OR REPLACE ", 1)), nil,
        { plain = true, must = true })
    if native.usable(connection) then
        schema.run(connection, "SET SESSION character_set_client = utf8mb4, sql_mode = ''")
    end
    if not ok then
        error(err, 0)
    end
end

--- Creates the objects; those that need one that comes later are tried again after it.
function schema.create_objects(connection, name, objects)
    schema.run(connection, "USE " .. quote(name))
    local left = objects
    while #left > 0 do
        local failed, last = {}, nil
        for _, found in ipairs(left) do
            local ok, err = pcall(create_object, connection, found)
            if not ok and err.code ~= "sql" then
                error(err, 0)
            elseif not ok then
                failed[#failed + 1], last = found, err
            end
        end
        if #failed == #left then
            error(last, 0)
        end
        left = failed
    end
end

--- Raises where this user may not create that view in `name`; else one of its name and definer is there.
function schema.try_view(connection, name, found)
    local head = body(found):match("^CREATE (ALGORITHM=%u+ DEFINER=.- SQL SECURITY %u+ VIEW )")
    schema.run(connection, "CREATE OR REPLACE %s%s.%s AS SELECT 1", head, quote(name), quote(found.name))
end

function schema.drop_objects(connection, name, objects)
    for _, found in ipairs(objects) do
        local package = found.kind:find "^PACKAGE" -- only that mode knows them
        if package then
            schema.run(connection, "SET SESSION sql_mode = ORACLE")
        end
        schema.run(connection, "DROP %s IF EXISTS %s.%s", found.kind, quote(name), quote(found.name))
        if package then
            schema.run(connection, "SET SESSION sql_mode = ''")
        end
    end
end

function schema.only(objects, kind)
    local some = {}
    for _, found in ipairs(objects) do
        if found.kind == kind then
            some[#some + 1] = found
        end
    end
    return some
end

--- Makes the schema's code what `wanted` says: drops what is too many, creates what is missing or other.
function schema.apply_objects(connection, name, wanted)
    local have, want = {}, {}
    for _, found in ipairs(wanted) do
        want[object_key(found)] = found
    end
    for _, found in ipairs(schema.objects(connection, name)) do
        have[object_key(found)] = found.hash
        if not want[object_key(found)] then
            schema.drop_objects(connection, name, { found })
        end
    end
    local missing = {}
    for _, found in ipairs(wanted) do
        if have[object_key(found)] ~= found.hash then
            missing[#missing + 1] = found
        end
    end
    schema.create_objects(connection, name, missing)
end

return schema
