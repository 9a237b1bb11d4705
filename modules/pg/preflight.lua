-- What is asked before a backup: whether it would hold everything, whether it can be proven, and which way is the fastest.
local native, rt, lib = ...

local shared = rt.native("database")
local databases = lib.databases
local rows, value = databases.rows, databases.value
local M = {}

local SMALL, LARGE = 8 << 20, 256 << 20
local SHOWN = 5

local function listed(names)
    local shown = table.concat(names, ", ", 1, math.min(#names, SHOWN))
    return #names > SHOWN and ("%s and %d more"):format(shown, #names - SHOWN) or shown
end

local function names_of(connection, sql, ...)
    local names = {}
    for i, row in ipairs(rows(connection, sql, ...)) do
        names[i] = row.name
    end
    return names
end

local USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'rollouthost')"

local RELATIONS = [[SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE %s AND c.relkind IN (%s) AND %s ORDER BY 1]]

local function relations(connection, kinds, condition)
    return names_of(connection, RELATIONS:format(USER_SCHEMA, kinds, condition))
end

-- ---- who dumps ----

--- Refuses a session that is shared with others: its snapshot would not be its own.
function M.refuse_pooler(connection)
    local _, process = native.server(connection)
    if value(connection, "SELECT pg_backend_pid()") ~= process then
        rt.raise("pooler", "pg: this is a pooler (pgbouncer or its like), which shares sessions between its clients: a backup"
            .. " needs one of its own; give the URL of the server behind it")
    end
end

-- Row security gives a role that is subject to it fewer rows, without a word.
local function refuse_hidden_rows(connection)
    local hidden = relations(connection, "'r', 'p'", "row_security_active(c.oid)")
    if #hidden > 0 then
        rt.raise("row_security", string.format("pg: row security hides rows of %s from this role, so a backup would lack them:"
            .. " use the tables' owner (without FORCE ROW LEVEL SECURITY), or ALTER ROLE %s BYPASSRLS", listed(hidden),
            value(connection, "SELECT quote_ident(current_user)")))
    end
end

local function refuse_unreadable(connection)
    local unreadable = relations(connection, "'r', 'p', 'm', 'S'", "CASE c.relkind WHEN 'S'"
        .. " THEN NOT has_sequence_privilege(c.oid, 'SELECT') ELSE NOT has_table_privilege(c.oid, 'SELECT') END")
    if #unreadable > 0 then
        rt.raise("privileges", string.format("pg: the role may not read %s: grant SELECT (or the role pg_read_all_data)",
            listed(unreadable)))
    end
end

-- Extensions whose functions only a superuser may make.
local UNTRUSTED = [[SELECT quote_ident(e.extname) AS name FROM pg_extension e
    WHERE e.extname <> 'plpgsql' AND NOT EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = e.extname
        AND v.version = e.extversion AND (NOT v.superuser OR v.trusted)) ORDER BY 1]]

-- A superuser's are in no list of what a role owns.
local OWNED = { pg_class = "rel", pg_proc = "pro", pg_type = "typ", pg_namespace = "nsp", pg_event_trigger = "evt",
    pg_publication = "pub", pg_foreign_server = "srv", pg_foreign_data_wrapper = "fdw", pg_collation = "coll",
    pg_conversion = "con", pg_operator = "opr", pg_opclass = "opc", pg_ts_config = "cfg", pg_ts_dict = "dict",
    pg_statistic_ext = "stx", pg_language = "lan", pg_largeobject_metadata = "lom" }

local SUPERUSERS = [[SELECT i.type || ' ' || i.identity AS name
    FROM (%s) AS o, pg_identify_object(CASE o.class WHEN 'pg_largeobject_metadata'::regclass THEN 'pg_largeobject'::regclass
        ELSE o.class END, o.oid, 0) AS i
    WHERE o.oid >= 16384 AND o.owner IN (SELECT oid FROM pg_roles WHERE rolsuper)
        AND COALESCE(i.schema, '') !~ '^(pg_|rollouthost$)' AND NOT (i.type = 'schema' AND i.identity ~ '^(pg_|rollouthost$)')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0
            AND d.deptype IN ('e', 'i'))
    ORDER BY i.type <> 'table', 1]]

local function superusers(connection)
    local selects = {}
    for class, prefix in pairs(OWNED) do
        selects[#selects + 1] = ("SELECT tableoid AS class, oid, %sowner AS owner FROM %s%s"):format(prefix, class,
            class == "pg_class" and " WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')" or "")
    end
    return names_of(connection, SUPERUSERS:format(table.concat(selects, " UNION ALL ")))
end

local STRANGERS = [[SELECT quote_ident(rolname) AS name FROM pg_roles r WHERE NOT pg_has_role(oid, 'MEMBER')
    AND EXISTS (SELECT FROM pg_database b WHERE datname = $1 AND (datdba = r.oid OR EXISTS (SELECT FROM pg_shdepend d
        WHERE d.dbid = b.oid AND d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'))) ORDER BY 1]]

-- The proof is a restore into a database of its own: what the role needs for that.
local function refuse_unprovable(job, connection)
    local me = rows(connection, "SELECT quote_ident(rolname) AS name, rolsuper AS super, rolcreatedb AS creates FROM pg_roles"
        .. " WHERE rolname = current_user")[1]
    if me.super then
        return
    elseif not me.creates then
        rt.raise("privileges", string.format("pg: the backup is proven by restoring it into a database of its own, and the role"
            .. " may not create one: ALTER ROLE %s CREATEDB, or verify = false", me.name))
    end
    local untrusted = names_of(connection, UNTRUSTED)
    if #untrusted > 0 then
        rt.raise("privileges", string.format("pg: only a superuser can create the extension %s, so this role cannot restore the"
            .. " backup to prove it: use a superuser's role, or verify = false", listed(untrusted)))
    end
    local above = superusers(connection)
    if #above > 0 then
        rt.raise("privileges", string.format("pg: the role cannot restore the backup to prove it: a superuser owns %s. Make %s the"
            .. " owner (ALTER … OWNER TO), use a superuser's role, or verify = false", listed(above), me.name))
    end
    local strangers = names_of(connection, STRANGERS, job.name)
    if #strangers > 0 then
        rt.raise("privileges", string.format("pg: objects belong to %s, and this role cannot give them back to their owner when"
            .. " the backup is restored: GRANT %s TO %s, or verify = false", listed(strangers), listed(strangers), me.name))
    end
end

-- ---- room ----

local LOCAL = [[SELECT (inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1')
        AS here, (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS folder]]

local function refuse_full_server(connection, needed)
    local at = rows(connection, LOCAL)[1]
    if not at.here or type(at.folder) ~= "string" then
        return
    end
    local known, free = pcall(shared.file, "free", at.folder) -- the server may live in a container of its own
    if known and free < needed then
        rt.raise("disk_full", string.format("pg: the restored copy may need %d MiB, and the server's disk (%s) has %d MiB free:"
            .. " make room, or verify = false", needed >> 20, at.folder, free >> 20))
    end
end

-- ---- shape ----

local SIZES = [[SELECT count(*) AS tables, COALESCE(sum(size), 0)::bigint AS bytes, COALESCE(max(size), 0) AS largest
    FROM (SELECT pg_table_size(c.oid) AS size FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND %s) AS s]]

-- One transaction holds a lock on each relation that it makes.
local LOCKS = [[SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'm', 'i', 'S', 't', 'v', 'p', 'I'))
    < current_setting('max_locks_per_transaction')::bigint * (current_setting('max_connections')::bigint
        + current_setting('max_prepared_transactions')::bigint) / 2]]

local function megabytes(bytes)
    return bytes >= 10 << 30 and ("%d GiB"):format(bytes >> 30) or ("%d MiB"):format((bytes + (1 << 20) - 1) >> 20)
end

-- "single": one stream, loaded while it is written. "parallel": a folder, by several sessions; that pays where there are
-- several large tables and processors to work on them.
local function choose(job, sizes)
    local tables, all, largest = sizes.tables, megabytes(sizes.bytes), sizes.largest
    local shown = ("%d table%s, %s"):format(tables, tables == 1 and "" or "s", all)
    if job.args.maintenance and job.args.verify then
        return "clone", shown .. ", nobody else is connected"
    elseif sizes.bytes < LARGE or tables > 0 and sizes.bytes // tables < SMALL then
        return "single", shown .. ": small ones"
    elseif largest * 2 > sizes.bytes then
        return "single", ("%s, the largest has %d %% of it"):format(shown, largest * 100 // sizes.bytes)
    elseif job.args.jobs < 3 then
        return "single", ("%s; jobs = %d"):format(shown, job.args.jobs)
    end
    return "parallel", ("%s, the largest has %d %% of it; jobs = %d"):format(shown, largest * 100 // sizes.bytes, job.args.jobs)
end

-- ---- what is left out ----

local function notes_of(connection)
    local notes = rt.json.array {}
    local foreign = relations(connection, "'f'", "true")
    if #foreign > 0 then
        notes[#notes + 1] = "the rows of foreign tables are elsewhere, and not in it: " .. listed(foreign)
    end
    local subscriptions = names_of(connection, "SELECT quote_ident(subname) AS name FROM pg_subscription WHERE subdbid ="
        .. " (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1")
    if #subscriptions > 0 then
        notes[#notes + 1] = "subscriptions are not in it: " .. listed(subscriptions)
    end
    return notes
end

local ROLES = [[SELECT DISTINCT r.rolname AS name FROM pg_roles r WHERE r.oid IN (
        SELECT d.refobjid FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid
            WHERE b.datname = current_database() AND d.refclassid = 'pg_authid'::regclass
        UNION SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ]] .. USER_SCHEMA .. [[
        UNION SELECT datdba FROM pg_database WHERE datname = current_database()) AND r.rolname !~ '^pg_' ORDER BY 1]]

--- What a server must have for the database to be restored on it: { roles, extensions, tablespaces }.
function M.needs(connection)
    return {
        roles = rt.json.array(names_of(connection, ROLES)),
        extensions = rt.json.array(names_of(connection, "SELECT extname AS name FROM pg_extension WHERE extname <> 'plpgsql'"
            .. " ORDER BY 1")),
        tablespaces = rt.json.array(names_of(connection, "SELECT DISTINCT t.spcname AS name FROM pg_class c JOIN pg_tablespace t"
            .. " ON t.oid = c.reltablespace WHERE c.oid >= 16384 ORDER BY 1")),
    }
end

local AVAILABLE = { { "roles", "role", "pg_roles", "rolname" }, { "extensions", "extension", "pg_available_extensions", "name" },
    { "tablespaces", "tablespace", "pg_tablespace", "spcname" } }

--- Refuses a restore on a server that lacks some of that, in one message.
function M.refuse_missing(connection, needs)
    local missing = {}
    for _, kind in ipairs(AVAILABLE) do
        local list, word, catalog, column = kind[1], kind[2], kind[3], kind[4]
        for _, needed in ipairs(needs[list] or {}) do
            if not value(connection, ("SELECT true FROM %s WHERE %s = $1"):format(catalog, column), needed) then
                missing[#missing + 1] = word .. " " .. needed
            end
        end
    end
    if #missing > 0 then
        rt.raise("missing", "pg: the backup cannot be restored on this server, and nothing was touched. It lacks "
            .. table.concat(missing, ", "))
    end
end

local OTHERS = [[SELECT count(*) AS n, min(COALESCE(usename, '?') || ' (' || COALESCE(NULLIF(application_name, ''), 'no name')
        || ', pid ' || pid || ')') AS one FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND ]] .. databases.SOMEBODY .. [[
        AND NOT (usename = current_user AND application_name LIKE 'rollouthost%')]]

local function refuse_company(job, connection)
    local others = rows(connection, OTHERS)[1]
    if others.n > 0 then
        rt.raise("in_use", string.format("pg: maintenance = true says that nobody else is connected to %s, and %d session%s: %s;"
            .. " stop the application, or leave maintenance out", job.name, others.n, others.n == 1 and " is" or "s are",
            others.one))
    end
end

--- Looks at the database through `connection`; refuses, or sets job.source, job.expected, job.shape, job.shape_why and
--- job.own.{single, tables, bytes, notes, needs}.
function M.check(job, connection)
    local own = job.own
    refuse_hidden_rows(connection)
    refuse_unreadable(connection)
    job.source = databases.source(connection, job.name)
    if job.args.maintenance then
        refuse_company(job, connection)
    end
    if job.args.verify then
        refuse_unprovable(job, connection)
        refuse_full_server(connection, databases.size(connection, job.name))
    end
    local sizes = rows(connection, SIZES:format(USER_SCHEMA))[1]
    job.shape, job.shape_why = choose(job, sizes)
    job.expected = sizes.bytes // 2 -- compressed; the procedure asks for more than that
    own.bytes = sizes.bytes
    own.single = value(connection, LOCKS) or false
    own.notes, own.needs = notes_of(connection), M.needs(connection)
end

return M
