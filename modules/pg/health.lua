-- What the reads for gates find in PostgreSQL: how the server is doing. What the role may not see is nil, with the grant that
-- shows it, so that an expectation about it is unknown and never holds by chance.
local native, rt = ...

local fingerprint = native.parts.fingerprint(native, rt)
local database = rt.native "database"
local shown, set, because = database.shown, database.reads.set, database.reads.because
local M = {}

local null = rt.json.null
local MONITOR = "GRANT pg_monitor TO %s shows it"

local function known(found)
    if found == null then
        return nil
    end
    return found
end

-- ---- sessions ----

-- Of sessions that a role may not look into, PostgreSQL hides what they do, not that they are there.
local CONNECTIONS = [[
SELECT count(*) AS used, count(*) FILTER (WHERE datname = current_database()) AS here,
    count(*) FILTER (WHERE state IS NULL) AS hidden, count(*) FILTER (WHERE state = 'active') AS active,
    count(*) FILTER (WHERE state = 'idle') AS idle, count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS in_transaction,
    coalesce(max(extract(epoch FROM clock_timestamp() - state_change) * 1000)
        FILTER (WHERE state LIKE 'idle in transaction%'), 0)::bigint AS idle_in_transaction_ms,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000), 0)::bigint AS oldest_transaction_ms,
    count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS allowed,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database())::bigint AS database_limit,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user)::bigint AS role_limit,
    count(*) FILTER (WHERE usename = session_user) AS mine, current_user::text AS me
FROM pg_stat_activity WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)]]

-- The limits of the server, the database and the role: which is nearest to being reached.
local function nearest(row)
    local share, limited_by = row.used / row.allowed, "max_connections"
    for by, pair in pairs { database = { row.here, row.database_limit }, role = { row.mine, row.role_limit } } do
        if pair[2] > 0 and pair[1] / pair[2] > share then
            share, limited_by = pair[1] / pair[2], by
        end
    end
    return math.floor(share * 10000 + 0.5) / 10000, limited_by
end

function M.connections(query)
    local row = query(CONNECTIONS)[1]
    local found = { used = row.used, allowed = row.allowed, here = row.here }
    found.share, found.limited_by = nearest(row)
    local why = {}
    if row.hidden == 0 then
        found.active, found.idle, found.waiting = row.active, row.idle, row.waiting
        found.idle_in_transaction, found.idle_in_transaction_ms = row.in_transaction, row.idle_in_transaction_ms
        found.oldest_transaction_ms = row.oldest_transaction_ms
    else
        why = because(("%d sessions of other roles are hidden; "):format(row.hidden) .. MONITOR:format(row.me), "active", "idle",
            "waiting", "idle_in_transaction", "idle_in_transaction_ms", "oldest_transaction_ms")
    end
    return found, { why = why, known = set("used", "allowed", "here", "share", "limited_by", "active", "idle", "waiting",
        "idle_in_transaction", "idle_in_transaction_ms", "oldest_transaction_ms"),
        usual = { { "share", { below = "80%" } } } }
end

-- ---- statements ----

local RUNNING = [[
SELECT coalesce((extract(epoch FROM clock_timestamp() - query_start) * 1000)::bigint, 0) AS ms, usename::text AS "user",
    application_name AS application, concat_ws(' ', wait_event_type, wait_event) AS waits_for, left(query, 4000) AS text
FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()
    AND backend_type = 'client backend' AND clock_timestamp() - query_start > $1::bigint * interval '1 millisecond'
ORDER BY 1 DESC]]

local HIDDEN = [[
SELECT count(*) AS n, current_user::text AS me FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NULL
    AND (backend_type = 'client backend' OR backend_type IS NULL)]]

local STATEMENTS = [[
SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(total_exec_time), 0)::float8 AS total_ms,
    count(*) FILTER (WHERE mean_exec_time > $1::bigint) AS slow
FROM %s.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())]]

local SLOWEST = [[
SELECT calls, round(mean_exec_time)::bigint AS mean_ms, round(max_exec_time)::bigint AS longest_ms, left(query, 4000) AS text
FROM %s.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mean_exec_time > $1::bigint ORDER BY mean_exec_time DESC LIMIT 5]]

-- What pg_stat_statements has counted since it was reset; nil and why where it counts nothing.
local function counted(query, threshold)
    local extension = query("SELECT n.nspname::text AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        .. " WHERE e.extname = 'pg_stat_statements'")[1]
    if not extension then
        return nil, "the extension pg_stat_statements is not installed in this database"
    end
    local schema = '"' .. extension.schema:gsub('"', '""') .. '"'
    local ok, rows = pcall(query, STATEMENTS:format(schema), threshold)
    if not ok and (rows.code == "lost_connection" or rows.code == "timeout") then
        error(rows, 0)
    elseif not ok then
        return nil, rows.message
    end
    local found = rows[1]
    found.statements = query(SLOWEST:format(schema), threshold)
    for _, row in ipairs(found.statements) do
        row.text = row.text ~= null and shown(row.text) or "hidden"
    end
    return found
end

function M.slow_queries(query, where)
    local threshold = where[1] and rt.duration(where[1]) or 1000
    local running, hidden = query(RUNNING, threshold), query(HIDDEN)[1]
    for _, row in ipairs(running) do
        row.text = shown(row.text)
    end
    local found = { longer_than_ms = threshold, queries = rt.json.array(running) }
    local why = {}
    if hidden.n == 0 then
        found.running, found.longest_ms = #running, running[1] and running[1].ms or 0
    else
        why = because(("%d sessions of other roles are hidden; "):format(hidden.n) .. MONITOR:format(hidden.me), "running",
            "longest_ms")
    end
    local statements, reason = counted(query, threshold)
    if statements then
        found.calls, found.total_ms, found.slow_statements = statements.calls, statements.total_ms, statements.slow
        found.mean_ms = statements.calls > 0 and statements.total_ms / statements.calls or nil
        found.statements = rt.json.array(statements.statements)
    else
        why.calls, why.total_ms, why.mean_ms, why.slow_statements, why.statements = reason, reason, reason, reason, reason
    end
    return found, { why = why, known = set("longer_than_ms", "running", "longest_ms", "queries", "calls", "total_ms", "mean_ms",
        "slow_statements", "statements"), usual = { { "running", 0 } } }
end

-- ---- settings ----

local SUMMARY = [[
SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS ssl,
    current_setting('wal_level') AS wal_level, current_setting('archive_mode') AS archive_mode, a.archived_count AS archived,
    a.last_archived_time::text AS last_archived, a.last_failed_time::text AS last_failed,
    a.last_failed_time > coalesce(a.last_archived_time, '-infinity') AS failing, pg_is_in_recovery() AS standby,
    pg_has_role('pg_read_all_settings', 'USAGE') AS sees_all
FROM pg_stat_archiver AS a]]

-- Whether the server can be brought back to any moment, as far as it tells: true, false or nil, and why.
local function point_in_time(row)
    if row.archive_mode == "off" then
        return false, "archive_mode is off; what a provider keeps beside the server is not seen from here"
    elseif row.wal_level == "minimal" then
        return false, "wal_level is minimal"
    elseif row.failing == true then
        return false, "archiving failed last at " .. row.last_failed
    elseif row.standby and row.archive_mode ~= "always" then
        return nil, "this is a standby, and the primary archives"
    elseif row.archived == 0 then
        return nil, "nothing has been archived since the statistics were reset"
    end
    return true
end

local function typed(row)
    if row.kind == "bool" then
        return row.setting == "on"
    elseif row.kind == "integer" and not known(row.unit) then
        return math.tointeger(row.setting) or row.setting
    end
    return row.shown
end

function M.settings(query, where, expected)
    local row = query(SUMMARY)[1]
    local found = { ssl = row.ssl, wal_level = row.wal_level, archive_mode = row.archive_mode,
        last_archived = known(row.last_archived), last_archive_failed = known(row.last_failed) }
    local why = {}
    found.point_in_time_recovery, why.point_in_time_recovery = point_in_time(row)
    why.last_archived = "nothing was archived yet"
    local all, names = {}, {}
    for _, setting in ipairs(query("SELECT name, setting, unit, vartype AS kind, current_setting(name, true) AS shown"
        .. " FROM pg_settings")) do
        all[setting.name] = setting
        names[#names + 1] = setting.name
    end
    local asked = table.move(where, 1, #where, 1, {})
    for _, pair in ipairs(expected or {}) do
        asked[#asked + 1] = pair[1]
    end
    local only = {}
    for i, name in ipairs(asked) do
        if all[name] and not (found[name] ~= nil or why[name]) then
            found[name] = typed(all[name])
        elseif found[name] == nil and not why[name] then
            local hint = rt.suggest(name, names)
            rt.raise(row.sees_all and "missing" or "access_denied", ("there is no setting %s%s%s"):format(name,
                row.sees_all and "" or " that this role may see (GRANT pg_read_all_settings shows all)",
                hint and ": " .. hint or ""))
        end
        only[name] = i <= #where or nil
    end
    if #where > 0 and not expected then
        local some = {}
        for name in pairs(only) do
            some[name] = found[name] ~= nil and found[name] or null
        end
        return some
    end
    return found, { why = why, known = set("point_in_time_recovery", "last_archived", "last_archive_failed") }
end

-- ---- replication ----

local STANDBYS = [[
SELECT application_name AS name, state, sync_state AS sync, (extract(epoch FROM replay_lag) * 1000)::bigint AS lag_ms,
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint END AS lag_bytes
FROM pg_stat_replication]]

local SLOTS = [[
SELECT count(*) FILTER (WHERE NOT active) AS inactive, coalesce(max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery()
    THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)), 0)::bigint AS retained FROM pg_replication_slots]]

local ITSELF = [[
SELECT pg_is_in_recovery() AS standby, current_user::text AS me, (CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
    THEN 0 ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 END)::bigint AS lag_ms,
    pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint AS lag_bytes]]

local function worst(rows, field)
    local most
    for _, row in ipairs(rows) do
        if row[field] == null then
            return nil
        end
        most = math.max(most or 0, row[field])
    end
    return most
end

function M.replication_lag(query)
    local itself, why = query(ITSELF)[1]
    local found = { role = itself.standby and "standby" or "primary" }
    if itself.standby then
        found.lag_ms, found.lag_bytes = known(itself.lag_ms), known(itself.lag_bytes)
        why = because("the standby has replayed nothing yet", "lag_ms", "lag_bytes")
    else
        local rows, hidden = query(STANDBYS), 0
        for _, row in ipairs(rows) do
            hidden = hidden + (row.state == null and 1 or 0)
            if row.lag_ms == null and row.lag_bytes == 0 then
                row.lag_ms = 0 -- nothing to be behind with: PostgreSQL then tells no lag
            end
        end
        found.standbys, found.list = #rows, rt.json.array(rows)
        found.lag_ms, found.lag_bytes = worst(rows, "lag_ms"), worst(rows, "lag_bytes")
        why = because(#rows == 0 and "no standby is connected" or hidden > 0 and MONITOR:format(itself.me)
            or "a standby has not answered yet", "lag_ms", "lag_bytes")
    end
    local slots = query(SLOTS)[1]
    found.inactive_slots, found.retained_bytes = slots.inactive, slots.retained
    return found, { why = why, known = set("role", "standbys", "list", "lag_ms", "lag_bytes", "inactive_slots",
        "retained_bytes"), usual = { { "lag_ms", { below = 10000 } } } }
end

-- ---- size, version, digest ----

--- health(find): with inspect.lua's way to find a table.
return function(find)
    function M.size(query, where)
        if not where[1] then
            return { bytes = query("SELECT pg_database_size(current_database()) AS n")[1].n }
        end
        local tab = find(query, where[1], "{r,p,m}")
        return (query([[SELECT sum(pg_total_relation_size(r))::bigint AS bytes, sum(pg_table_size(r))::bigint AS table_bytes,
            sum(pg_indexes_size(r))::bigint AS index_bytes FROM (SELECT $1::bigint::oid::regclass AS r UNION
            SELECT relid FROM pg_partition_tree($1::bigint::oid::regclass)) AS parts]], tab.id)[1])
    end

    function M.version(query)
        local row = query("SELECT current_setting('server_version') AS version, current_setting('server_version_num')::bigint AS n,"
            .. " current_database()::text AS database, current_user::text AS user, pg_is_in_recovery() AS standby,"
            .. " pg_encoding_to_char(encoding)::text AS encoding FROM pg_database WHERE datname = current_database()")[1]
        return { product = "PostgreSQL", version = row.version, major = row.n // 10000, minor = row.n % 10000,
            database = row.database, user = row.user, standby = row.standby, encoding = row.encoding }
    end

    function M.schema_digest(_, _, _, _, connection)
        return fingerprint.schema_digest(connection)
    end

    return M
end
