-- What the reads for gates find in MariaDB and MySQL: how the server is doing. What the user may not see is nil, with the
-- grant that shows it, so that an expectation about it is unknown and never holds by chance.
local _, rt = ...

local database = rt.native "database"
local shown, set, because = database.shown, database.reads.set, database.reads.because
local M = {}

local null = rt.json.null
local PROCESS = "GRANT PROCESS ON *.* shows other users' sessions"

local function number(found)
    return found ~= nil and found ~= null and (math.tointeger(tonumber(found)) or tonumber(found)) or nil
end

-- SHOW … LIKE: what a server calls that.
local function show(query, kind, name)
    local row = query("SHOW " .. kind .. " LIKE '" .. name .. "'")[1]
    return row and row.Value
end

-- A read that the user may not do, or this server does not know, tells nothing.
local function attempt(query, sql, ...)
    local ok, rows = pcall(query, sql, ...)
    if ok then
        return rows
    elseif rows.code ~= "sql" and rows.code ~= "access_denied" then
        error(rows, 0)
    end
end

-- ---- sessions ----

local SESSIONS = [[
SELECT COUNT(*) AS seen, COUNT(CASE WHEN db = DATABASE() THEN 1 END) AS here,
    COUNT(CASE WHEN command NOT IN ('Sleep', 'Daemon') THEN 1 END) AS active, COUNT(CASE WHEN command = 'Sleep' THEN 1 END) AS idle,
    COUNT(CASE WHEN user = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) THEN 1 END) AS mine
FROM information_schema.processlist WHERE command NOT IN ('Daemon', 'Binlog Dump', 'Slave_IO', 'Slave_SQL', 'Slave_worker')]]

local TRANSACTIONS = [[
SELECT COUNT(CASE WHEN p.command = 'Sleep' THEN 1 END) AS idle, COUNT(CASE WHEN t.trx_state = 'LOCK WAIT' THEN 1 END) AS waiting,
    COALESCE(MAX(CASE WHEN p.command = 'Sleep' THEN p.time END), 0) * 1000 AS idle_ms,
    COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW())), 0) DIV 1000 AS oldest_ms
FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE p.id <> CONNECTION_ID()]]

function M.connections(query)
    local row = query(SESSIONS)[1]
    local used, allowed = number(show(query, "GLOBAL STATUS", "Threads_connected")), number(show(query, "GLOBAL VARIABLES",
        "max_connections"))
    local of_user = number(show(query, "SESSION VARIABLES", "max_user_connections")) or 0
    local found = { used = used, allowed = allowed, share = used / allowed, limited_by = "max_connections",
        most_used = number(show(query, "GLOBAL STATUS", "Max_used_connections")) }
    if of_user > 0 and number(row.mine) / of_user > found.share then
        found.share, found.limited_by = number(row.mine) / of_user, "max_user_connections"
    end
    found.share = math.floor(found.share * 10000 + 0.5) / 10000
    local transactions = attempt(query, TRANSACTIONS)
    local why = {}
    if transactions then
        found.here, found.active, found.idle = number(row.here), number(row.active), number(row.idle)
        found.idle_in_transaction, found.waiting = number(transactions[1].idle), number(transactions[1].waiting)
        found.idle_in_transaction_ms = number(transactions[1].idle_ms)
        found.oldest_transaction_ms = number(transactions[1].oldest_ms)
    else
        why = because(PROCESS, "here", "active", "idle", "idle_in_transaction", "waiting", "idle_in_transaction_ms",
            "oldest_transaction_ms")
    end
    return found, { why = why, known = set("used", "allowed", "here", "share", "limited_by", "most_used", "active", "idle",
        "waiting", "idle_in_transaction", "idle_in_transaction_ms", "oldest_transaction_ms"),
        usual = { { "share", { below = "80%" } } } }
end

-- ---- statements ----

local RUNNING = [[
SELECT time * 1000 AS ms, user AS user, state AS waits_for, LEFT(info, 4000) AS text FROM information_schema.processlist
WHERE command IN ('Query', 'Execute') AND id <> CONNECTION_ID() AND db = DATABASE() AND time * 1000 > ? ORDER BY time DESC]]

local DIGESTS = [[
SELECT COALESCE(SUM(count_star), 0) AS calls, COALESCE(SUM(sum_timer_wait), 0) / 1e9 AS total_ms,
    COUNT(CASE WHEN avg_timer_wait / 1e9 > ? THEN 1 END) AS slow
FROM performance_schema.events_statements_summary_by_digest WHERE schema_name = DATABASE()]]

local SLOWEST = [[
SELECT count_star AS calls, ROUND(avg_timer_wait / 1e9) AS mean_ms, ROUND(max_timer_wait / 1e9) AS longest_ms,
    LEFT(digest_text, 4000) AS text FROM performance_schema.events_statements_summary_by_digest
WHERE schema_name = DATABASE() AND avg_timer_wait / 1e9 > ? ORDER BY avg_timer_wait DESC LIMIT 5]]

local function counted(query, threshold)
    if show(query, "GLOBAL VARIABLES", "performance_schema") ~= "ON" then
        return nil, "performance_schema is off"
    end
    local rows = attempt(query, DIGESTS, threshold)
    if not rows then
        return nil, "GRANT SELECT ON performance_schema.* shows it"
    end
    local found = { calls = number(rows[1].calls), total_ms = number(rows[1].total_ms), slow = number(rows[1].slow),
        statements = {} }
    for i, row in ipairs(query(SLOWEST, threshold)) do
        found.statements[i] = { calls = number(row.calls), mean_ms = number(row.mean_ms), longest_ms = number(row.longest_ms),
            text = row.text ~= null and shown(row.text, true) or "hidden" }
    end
    return found
end

function M.slow_queries(query, where)
    local threshold = where[1] and rt.duration(where[1]) or 1000
    local running = query(RUNNING, threshold)
    for _, row in ipairs(running) do
        row.ms, row.text = number(row.ms), row.text ~= null and shown(row.text, true) or "hidden"
    end
    local found = { longer_than_ms = threshold, queries = rt.json.array(running) }
    local why = {}
    if attempt(query, "SELECT COUNT(*) AS n FROM information_schema.innodb_trx") then
        found.running, found.longest_ms = #running, running[1] and running[1].ms or 0
    else
        why = because(PROCESS, "running", "longest_ms")
    end
    local statements, reason = counted(query, threshold)
    if statements then
        found.calls, found.total_ms, found.slow_statements = statements.calls, statements.total_ms, statements.slow
        found.mean_ms = statements.calls > 0 and statements.total_ms / statements.calls or nil
        found.statements = rt.json.array(statements.statements)
    else
        for name in pairs(set("calls", "total_ms", "mean_ms", "slow_statements", "statements")) do
            why[name] = reason
        end
    end
    return found, { why = why, known = set("longer_than_ms", "running", "longest_ms", "queries", "calls", "total_ms", "mean_ms",
        "slow_statements", "statements"), usual = { { "running", 0 } } }
end

-- ---- settings ----

local function typed(text)
    if text == "ON" or text == "OFF" then
        return text == "ON"
    end
    return math.tointeger(tonumber(text)) or text
end

function M.settings(query, where, expected)
    local all, names = {}, {}
    for _, row in ipairs(query("SHOW GLOBAL VARIABLES")) do
        all[row.Variable_name] = typed(row.Value)
        names[#names + 1] = row.Variable_name
    end
    local cipher = show(query, "SESSION STATUS", "Ssl_cipher")
    local found = { ssl = cipher ~= nil and cipher ~= "", log_bin = all.log_bin, binlog_format = all.binlog_format,
        sync_binlog = all.sync_binlog, point_in_time_recovery = all.log_bin == true }
    local why = { point_in_time_recovery = "log_bin is off" }
    local only = {}
    for i, name in ipairs(where) do
        only[i] = name
    end
    for _, pair in ipairs(expected or {}) do
        only[#only + 1] = pair[1]
    end
    for _, name in ipairs(only) do
        if found[name] == nil then
            found[name] = all[name]
        end
        if found[name] == nil then
            local hint = rt.suggest(name, names)
            rt.raise("missing", ("there is no setting %s%s"):format(name, hint and ": " .. hint or ""))
        end
    end
    if #where > 0 and not expected then
        local some = {}
        for _, name in ipairs(where) do
            some[name] = found[name]
        end
        return some
    end
    return found, { why = why }
end

-- ---- replication ----

local KNOWN = set("role", "standbys", "lag_ms", "running", "error")
local USUAL = { { "lag_ms", { below = 10000 } } }

-- A primary does not know how far its replicas are: ask one of them.
local function primary(query)
    local found = { role = "primary" }
    local rows = attempt(query, "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    local process = attempt(query, "SELECT COUNT(*) AS n FROM information_schema.innodb_trx")
    found.standbys = rows and process and number(rows[1].n) or nil
    local why = because("the primary does not know it: ask a replica", "lag_ms", "running", "error")
    why.standbys = PROCESS
    return found, { why = why, known = KNOWN, usual = USUAL }
end

function M.replication_lag(query)
    local rows = attempt(query, "SHOW SLAVE STATUS") or attempt(query, "SHOW REPLICA STATUS")
    if not rows then
        return { role = null }, { known = KNOWN, usual = USUAL, why = because("GRANT REPLICA MONITOR ON *.* (MySQL: REPLICATION"
            .. " CLIENT) shows it", "role", "standbys", "lag_ms", "running", "error") }
    elseif #rows == 0 then
        return primary(query)
    end
    local found, why = { role = "standby", running = true }, {}
    for _, row in ipairs(rows) do
        local behind = number(row.Seconds_Behind_Master or row.Seconds_Behind_Source)
        local problem = row.Last_Error ~= "" and row.Last_Error or row.Last_IO_Error
        if behind then
            found.lag_ms = math.max(found.lag_ms or 0, behind * 1000)
        else
            found.running, why.lag_ms = false, "replication does not run"
        end
        if problem and problem ~= "" and problem ~= null then
            found.error = rt.masked(problem)
        end
    end
    found.lag_ms = found.running and found.lag_ms or nil
    return found, { why = why, known = KNOWN, usual = USUAL }
end

-- ---- size, version, digest ----

-- What defines the schema: kind, object and what its digest is made of, of any order.
local DIGESTED = {
    { "view", "name", "views", "view_definition, check_option, definer, security_type" },
    { "table", "name", "columns", "column_name, ordinal_position, column_type, is_nullable, column_default, extra, collation_name,"
        .. " column_comment, generation_expression" },
    { "table", "name", "tables", "table_type, engine, row_format, table_collation, create_options, table_comment" },
    { "index", "CONCAT(index_name, ' on ', name)", "statistics", "seq_in_index, column_name, non_unique, sub_part, index_type" },
    { "constraint", "CONCAT(constraint_name, ' on ', name)", "table_constraints", "constraint_type" },
    { "constraint", "CONCAT(constraint_name, ' on ', name)", "key_column_usage",
        "ordinal_position, column_name, referenced_table_name, referenced_column_name" },
    { "constraint", "CONCAT(constraint_name, ' on ', name)", "referential_constraints", "update_rule, delete_rule, match_option",
        "constraint_schema" },
    { "constraint", "CONCAT(constraint_name, ' on ', name)", "check_constraints", "check_clause", "constraint_schema" },
    { "trigger", "trigger_name", "triggers", "event_object_table, action_timing, event_manipulation, action_order,"
        .. " action_statement, sql_mode, definer", "trigger_schema", false },
    { "routine", "routine_name", "routines", "routine_type, dtd_identifier, routine_definition, is_deterministic, sql_data_access,"
        .. " security_type, sql_mode, definer", "routine_schema", false },
    { "routine", "specific_name", "parameters", "ordinal_position, parameter_mode, parameter_name, dtd_identifier",
        "specific_schema", false },
    { "event", "event_name", "events", "event_definition, status, starts, ends, execute_at, interval_value, interval_field",
        "event_schema", false },
}

local function digest_sql(entry)
    local columns = entry[4]:gsub("[%w_]+", function(name) return "IFNULL(" .. name .. ", '\\0')" end)
    local own = entry[6] ~= false and " AND table_name NOT REGEXP '^rollouthost_[0-9a-f]{16}$'" or ""
    return ("SELECT %s AS name, COUNT(*) AS n, SUM(CAST(CONV(LEFT(MD5(CONCAT_WS('|', %s)), 15), 16, 10) AS DECIMAL(20,0)))"
        .. " AS total FROM information_schema.%s WHERE %s = DATABASE()%s GROUP BY 1"):format(
        (entry[2]:gsub("%f[%w_]name%f[^%w_]", "table_name")), columns, entry[3], entry[5] or "table_schema", own)
end

--- health(find, of_tables): with inspect.lua's ways to find tables.
return function(find, of_tables)
    function M.size(query, where)
        if where[1] then
            find(query, where[1])
        end
        local row = query("SELECT COALESCE(SUM(data_length + index_length), 0) AS bytes,"
            .. " COALESCE(SUM(data_length), 0) AS table_bytes,"
            .. " COALESCE(SUM(index_length), 0) AS index_bytes FROM information_schema.tables WHERE " .. of_tables(query, where))[1]
        return { bytes = number(row.bytes), table_bytes = number(row.table_bytes), index_bytes = number(row.index_bytes) }
    end

    function M.version(query)
        local row = query("SELECT VERSION() AS version, DATABASE() AS db, CURRENT_USER() AS user, @@read_only AS standby,"
            .. " @@character_set_database AS encoding")[1]
        local major, minor = row.version:match("^(%d+)%.(%d+)")
        return { product = row.version:find("MariaDB", 1, true) and "MariaDB" or "MySQL", version = row.version,
            major = tonumber(major), minor = tonumber(minor), database = row.db, user = row.user,
            read_only = number(row.standby) == 1, encoding = row.encoding }
    end

    function M.schema_digest(query)
        local parts, objects, lines = {}, {}, {}
        for i, entry in ipairs(DIGESTED) do
            for _, row in ipairs(query(digest_sql(entry))) do
                local key = entry[1] .. " " .. row.name
                if not (entry[1] == "table" and parts["view " .. row.name]) then -- a view's columns are those of its tables
                    parts[key] = (parts[key] or "") .. (" %d:%s:%s"):format(i, row.n, row.total)
                end
            end
        end
        for key, text in pairs(parts) do
            objects[key] = rt.sha256(text):sub(1, 16)
            lines[#lines + 1] = key .. "\0" .. objects[key]
        end
        table.sort(lines)
        return { digest = rt.sha256(table.concat(lines, "\n")):sub(1, 32), objects = objects }
    end

    return M
end
