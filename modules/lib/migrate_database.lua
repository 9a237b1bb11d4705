-- migrate_database: what migrate asks a database, in the words of PostgreSQL and of MariaDB.
local database = {}

local Database = {}
Database.__index = Database

--- The questions about `db`, a handle of rollout.pg or rollout.mysql.
function database.of(db)
    local kind = tostring(db):match("^%a+")
    return setmetatable({ db = db, kind = kind == "pg" and "pg" or "mysql" }, Database)
end

local TABLE = {
    pg = [[SELECT table_schema AS place FROM information_schema.tables WHERE table_name = $1
        AND table_schema NOT IN ('pg_catalog', 'information_schema')
        ORDER BY CASE WHEN table_schema = current_schema() THEN 0 ELSE 1 END, table_schema]],
    mysql = [[SELECT table_schema AS place FROM information_schema.tables WHERE table_name = ?
        AND table_schema = database()]],
}

function Database:quote(name)
    local mark = self.kind == "pg" and '"' or "`"
    return mark .. name:gsub(mark, mark .. mark) .. mark
end

--- The table of that name, quoted with its schema; nil where there is none.
function Database:table(name)
    local found = self.db:query(TABLE[self.kind], name)[1]
    return found and self:quote(found.place) .. "." .. self:quote(name)
end

--- The rows of a tool's own table, an empty list where it is not there yet: `select` has %s in the table's place.
function Database:own_rows(name, select)
    local own = self:table(name)
    return own and self.db:query(select:format(own)) or {}, own
end

local TABLES = {
    pg = [[SELECT count(*) AS tables FROM information_schema.tables WHERE table_type = 'BASE TABLE'
        AND table_schema NOT IN ('pg_catalog', 'information_schema', 'rollouthost')]],
    mysql = [[SELECT count(*) AS tables FROM information_schema.tables WHERE table_type LIKE 'BASE%'
        AND table_schema = database() AND table_name <> 'rollouthost']],
}

--- True where there is no table, hence nothing that could be lost.
function Database:is_empty()
    return self.db:value(TABLES[self.kind]) == 0
end

local SCHEMA = { pg = "current_schema()", mysql = "database()" }
local IN_SCHEMA = [[SELECT count(*) AS tables, %s AS place FROM information_schema.tables WHERE table_type = 'BASE TABLE'
    AND table_schema = %s AND table_name <> 'spatial_ref_sys']]

--- How many tables the schema has in which a tool without one of its own would begin, PostGIS's apart; and its name.
function Database:tables_here()
    local schema = SCHEMA[self.kind]
    local found = self.db:one(IN_SCHEMA:format(schema, schema))
    return found.tables, found.place
end

--- What is there: { digest, objects = { name = hash } }, and { rows = { table = count } } or { rows_unknown = why }: what
--- cannot be counted in time is no reason to fail.
function Database:snapshot(counted)
    local schema = self.db:schema_digest()
    local found = { digest = schema.digest, objects = schema.objects }
    if counted then
        local ok, rows = pcall(self.db.row_counts, self.db)
        found.rows, found.rows_unknown = ok and rows or nil, not ok and rows.message or nil
    end
    return found
end

--- The names of what differs between two snapshots, but for the tool's own.
function database.changed(before, after, own)
    local list = {}
    for name, hash in pairs(after.objects) do
        list[#list + 1] = before.objects[name] ~= hash and name or nil
    end
    for name in pairs(before.objects) do
        list[#list + 1] = after.objects[name] == nil and name or nil
    end
    local rest = {}
    for _, name in ipairs(list) do
        rest[#rest + 1] = not name:find(own, 1, true) and name or nil
    end
    table.sort(rest)
    return rest
end

-- ---- sessions that a tool left behind ----

local NOW = { pg = "SELECT clock_timestamp()::text", mysql = "SELECT connection_id()" }

--- A mark by which sessions that begin later are known.
function Database:mark()
    return self.db:value(NOW[self.kind])
end

-- A server does not notice at once that its client was killed: the statement goes on, and so do its locks. Ended are
-- sessions of this very user in this database, begun since, that change the schema or wait to.
local LEFT = {
    pg = [[SELECT pid AS id, left(query, 200) AS statement FROM pg_stat_activity a
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
        AND backend_start >= $1::timestamptz AND (application_name = $2 OR EXISTS (SELECT 1 FROM pg_locks l
            WHERE l.pid = a.pid AND l.mode IN ('AccessExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock', 'ExclusiveLock')
            AND l.locktype = 'relation'))]],
    mysql = [=[SELECT id, left(info, 200) AS statement FROM information_schema.processlist WHERE db = database()
        AND user = substring_index(user(), '@', 1) AND id > ? AND id <> connection_id() AND command <> 'Sleep'
        AND ? <> '' AND info RLIKE '^[[:space:]]*(/[*].*[*]/)?[[:space:]]*(ALTER|CREATE|DROP|RENAME|OPTIMIZE|TRUNCATE)']=],
}
local END = { pg = "SELECT pg_terminate_backend(%d)", mysql = "KILL %d" }

local PAUSE = { pg = "SELECT 1 AS one FROM pg_sleep(1)", mysql = "SELECT sleep(1)" }

--- What a tool that is gone has left running there: its statements. A server that looks after its client ends them within
--- seconds, which are waited for.
function Database:left(mark, application)
    local list
    for try = 1, 5 do
        list = {}
        for i, session in ipairs(self.db:query(LEFT[self.kind], mark, application)) do
            list[i] = session.statement
        end
        if #list == 0 or try == 5 then
            return list
        end
        self.db:value(PAUSE[self.kind])
    end
end

--- Ends what a tool that was killed left running; the statements, oldest first.
function Database:sweep(mark, application)
    local ended = {}
    for _, session in ipairs(self.db:query(LEFT[self.kind], mark, application)) do
        local ok, err = pcall(self.db.exec, self.db, END[self.kind]:format(session.id))
        ended[#ended + 1] = ok and session.statement or ("%s (not ended: %s)"):format(session.statement, err.message)
    end
    return ended
end

return database
