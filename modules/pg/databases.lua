-- Databases as wholes: what one is made of besides its tables (encoding, owner, grants, settings …), making another like it,
-- closing it to everybody, removing it.
local native, rt = ...

local M = {}
local null = rt.json.null

--- An identifier, a literal.
function M.name(text)
    return '"' .. text:gsub('"', '""') .. '"'
end

function M.text(text)
    return (text:find("\\", 1, true) and "E'" or "'") .. text:gsub("\\", "\\\\"):gsub("'", "''") .. "'"
end

local name, text = M.name, M.text

--- Of pg_stat_activity: somebody's session. What kind of process it is, is hidden of other roles; those of the server itself
--- belong to none.
M.SOMEBODY = "usesysid IS NOT NULL AND COALESCE(backend_type, 'client backend') IN ('client backend', 'walsender')"

--- One statement, or several, without rows. It is not cut short, so that cleaning up works in a task that is cancelled.
function M.run(connection, sql, ...)
    native.query(connection, select("#", ...) > 0 and string.format(sql, ...) or sql, nil, { plain = true, must = true })
end

function M.rows(connection, sql, ...)
    return (native.query(connection, sql, select("#", ...) > 0 and { ... } or nil))
end

--- The only column of the only row; nil for NULL and for no row.
function M.value(connection, sql, ...)
    local row = M.rows(connection, sql, ...)[1]
    local _, value = next(row or {})
    if value == null then
        return nil
    end
    return value
end

-- What limits or ends a session by itself: a backup takes as long as it takes.
local UNLIMITED = [[SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')]]

--- How long a backup waits for a lock that somebody else has, in ms.
function M.lock_wait(job)
    return job.args.lock_wait or 30000
end

-- Not cut short either, so that a copy is dropped in a task that is cancelled.
local function sure(connection, sql, ...)
    return (native.query(connection, sql, { ... }, { must = true }))
end

--- A session of the backup's own. `database`: "" for one that is needed for no data.
function M.connect(job, database)
    local connection = native.connect(job.database.config, database, job.database.connect_timeout)
    M.rows(connection, UNLIMITED)
    M.run(connection, "SET application_name = 'rollouthost'; SET lock_timeout = %d; SET search_path = pg_catalog;"
        .. " SET default_transaction_read_only = off; SET row_security = off; SET client_min_messages = warning;"
        .. " SET standard_conforming_strings = on",
        M.lock_wait(job))
    return connection
end

--- A session for statements about databases: in another than `database`, since nobody can rename the one he is in.
function M.connect_beside(job, database)
    return M.connect(job, database == "postgres" and "template1" or "")
end

function M.exists(connection, database)
    return sure(connection, "SELECT FROM pg_database WHERE datname = $1", database)[1] ~= nil
end

function M.size(connection, database)
    return M.value(connection, "SELECT pg_database_size(oid) FROM pg_database WHERE datname = $1", database) or 0
end

local GRANTS = [[SELECT CASE grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(grantee) END AS role, privilege_type AS privilege,
        is_grantable AS grantable
    FROM pg_database d, aclexplode(d.datacl) WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, n)
    WHERE d.datname = $1 ORDER BY n]]

local SETTINGS = [[SELECT CASE setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(setrole) END AS role, c.setting AS setting
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) WITH ORDINALITY AS c (setting, n)
    WHERE d.datname = $1 ORDER BY setrole, n]]

local function plain(value)
    return value ~= null and value or nil
end

--- What an empty copy of a database needs, as plain data for a manifest. Grants are nil where nobody ever changed them.
function M.source(connection, database)
    local row = M.rows(connection, "SELECT to_jsonb(d) AS d, pg_get_userbyid(datdba) AS owner,"
        .. " pg_encoding_to_char(encoding) AS encoding, spcname AS tablespace, datacl IS NOT NULL AS granted,"
        .. " shobj_description(d.oid, 'pg_database') AS comment"
        .. " FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = $1", database)[1]
    if not row then
        return nil
    end
    local d = type(row.d) == "string" and rt.json.decode(row.d) or row.d
    local provider = ({ i = "icu", b = "builtin" })[plain(d.datlocprovider)] or "libc"
    local source = {
        name = database, owner = row.owner, encoding = row.encoding, collate = d.datcollate,
        ctype = d.datctype, provider = provider, locale = plain(d.datlocale) or plain(d.daticulocale),
        icu_rules = plain(d.daticurules),
        tablespace = row.tablespace, connection_limit = d.datconnlimit, comment = plain(row.comment),
        settings = rt.json.array {},
    }
    for _, set in ipairs(M.rows(connection, SETTINGS, database)) do
        table.insert(source.settings, { role = plain(set.role), setting = set.setting })
    end
    if row.granted then
        source.grants = rt.json.array {}
        for _, grant in ipairs(M.rows(connection, GRANTS, database)) do
            table.insert(source.grants, { role = plain(grant.role), privilege = grant.privilege,
                grantable = grant.grantable })
        end
    end
    return source
end

local function locale(source, version)
    local words = { ("LC_COLLATE %s LC_CTYPE %s"):format(text(source.collate), text(source.ctype)) }
    if version >= 150000 and source.provider ~= "libc" then
        words[2] = ("LOCALE_PROVIDER %s"):format(source.provider)
        words[3] = source.locale and ("%s_LOCALE %s"):format(source.provider, text(source.locale)) or nil
        words[4] = source.icu_rules and "ICU_RULES " .. text(source.icu_rules) or nil
    end
    return table.concat(words, " ")
end

--- An empty database like `source`. Of its properties only what can be given at birth: the rest is M.dress's.
function M.create(connection, database, source)
    local version = M.value(connection, "SELECT current_setting('server_version_num')::int")
    local elsewhere = source.tablespace ~= "pg_default" -- which only few may name
    M.run(connection, "CREATE DATABASE %s TEMPLATE template0 OWNER %s ENCODING %s %s%s", name(database), name(source.owner),
        text(source.encoding), locale(source, version), elsewhere and " TABLESPACE " .. name(source.tablespace) or "")
end

-- A setting as it stands in the catalog, "search_path=a, b". Lists of names are kept as they are; anything else is a value.
local LISTS = { search_path = true, temp_tablespaces = true, session_preload_libraries = true, local_preload_libraries = true,
    DateStyle = true, unix_socket_directories = true }

local function assignment(setting)
    local key, value = setting:match("^([^=]+)=(.*)$")
    return ("%s = %s"):format(key:gsub("[^.]+", name), LISTS[key] and value ~= "" and value or text(value))
end

--- The statements that give `database` the properties of `source`: grants, settings, comment, the limit of connections.
local function properties(database, source)
    local all = {}
    local function add(...)
        all[#all + 1] = string.format(...)
    end
    local quoted = name(database)
    if source.grants then
        add("REVOKE ALL ON DATABASE %s FROM PUBLIC, %s", quoted, name(source.owner))
        for _, grant in ipairs(source.grants) do
            add("GRANT %s ON DATABASE %s TO %s%s", grant.privilege, quoted, grant.role and name(grant.role) or "PUBLIC",
                grant.grantable and grant.role ~= source.owner and " WITH GRANT OPTION" or "")
        end
    end
    for _, set in ipairs(source.settings) do
        if set.role then
            add("ALTER ROLE %s IN DATABASE %s SET %s", name(set.role), quoted, assignment(set.setting))
        else
            add("ALTER DATABASE %s SET %s", quoted, assignment(set.setting))
        end
    end
    add("COMMENT ON DATABASE %s IS %s", quoted, source.comment and text(source.comment) or "NULL")
    if source.connection_limit ~= -1 then
        add("ALTER DATABASE %s CONNECTION LIMIT %d", quoted, source.connection_limit)
    end
    return all
end

--- Gives them. Returns what this role may not give, a line each: a superuser has set it.
function M.dress(connection, database, source)
    local refused = {}
    for _, statement in ipairs(properties(database, source)) do
        local ok, err = pcall(M.run, connection, "%s", statement)
        if not ok and (type(err.detail) ~= "table" or err.detail.sqlstate ~= "42501") then
            error(err, 0)
        elseif not ok then
            local scratch = name(database):gsub("%p", "%%%0")
            refused[#refused + 1] = (statement:gsub(scratch, name(source.name):gsub("%%", "%%%%")))
        end
    end
    return refused
end

--- Nobody connects any more, and who is connected is not.
function M.freeze(connection, database)
    M.run(connection, "ALTER DATABASE %s ALLOW_CONNECTIONS false", name(database))
    sure(connection, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
        database)
end

function M.thaw(connection, database)
    M.run(connection, "ALTER DATABASE %s ALLOW_CONNECTIONS true", name(database))
end

-- The server goes on with what a host that died has asked for: a database that is being made is not there yet.
local UNDER_WAY = [[SELECT pid, starts_with(query, 'CREATE') AND pg_terminate_backend(pid) AS ended FROM pg_stat_activity
    WHERE state = 'active' AND pid <> pg_backend_pid() AND usename = current_user
    AND (starts_with(query, 'CREATE DATABASE ' || $1 || ' ') OR query = 'DROP DATABASE IF EXISTS ' || $1)]]

--- Removes it, whoever is connected, and whoever is still making it.
function M.drop(connection, database)
    while #sure(connection, UNDER_WAY, name(database)) > 0 do
        sure(connection, "SELECT pg_sleep(0.02) IS NULL AS slept")
    end
    if M.exists(connection, database) then
        M.freeze(connection, database)
        M.run(connection, "DROP DATABASE IF EXISTS %s", name(database))
    end
end

return M
