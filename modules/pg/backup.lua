-- The database's part of a backup and of its way back; the procedure is modules/database's. `job` is the procedure's, job.own
-- is kept here:
--
--   admin     a session in another database, for statements about databases
--   live      one in the database itself, while there is one
--   snapshot  the moment that is dumped (snapshot.lua)      command   the dump under way
--   programs  the folder of pg_dump and its like            loaded    the database that the dump's stream goes into
local native, rt, driver, fingerprint = ...

local shared = rt.native("database")
local lib = { driver = driver, fingerprint = fingerprint }
for _, name in ipairs { "databases", "written", "snapshot", "clients", "preflight", "swap", "in_place" } do
    lib[name] = native.parts[name](native, rt, lib)
end
local databases, clients, preflight = lib.databases, lib.clients, lib.preflight
local snapshots, written, swaps, in_place = lib.snapshot, lib.written, lib.swap, lib.in_place
local M = { suffix = ".pgdump", counts = true }

local WATCH_MS = 250

-- ---- sessions ----

-- One restore of a database at a time. The server goes on with the statement of a host that died: until then nobody can tell
-- what is so.
local function be_alone(job)
    local key = tonumber(rt.sha256("rollouthost " .. job.name):sub(1, 15), 16)
    local ok, err = pcall(databases.rows, job.own.admin, "SELECT pg_advisory_lock($1::bigint)::text", key)
    if not ok and err.code == "lock_timeout" then
        rt.raise("busy", ("pg: another restore of %s is under way on the server"):format(job.name))
    elseif not ok then
        error(err, 0)
    end
end

local function admin_of(job)
    local own = job.own
    if not own.admin or not native.usable(own.admin) then
        own.admin = databases.connect_beside(job, job.name)
        own.version = native.server(own.admin)
        if own.alone then
            be_alone(job)
        end
    end
    return own.admin
end

-- In a session of the database, which is kept for the next question where it is the live one.
local function within(job, name, fn)
    local own = job.own
    local connection = name == job.name and own.live
    if connection and native.usable(connection) then
        return fn(connection)
    end
    connection = databases.connect(job, name)
    if name == job.name then
        own.live = connection
        return fn(connection)
    end
    local result = table.pack(pcall(fn, connection))
    native.close(connection)
    if not result[1] then
        error(result[2], 0)
    end
    return table.unpack(result, 2, result.n)
end

local function close(job, field)
    if job.own[field] then
        native.close(job.own[field])
        job.own[field] = nil
    end
end

-- ---- locks ----

-- Who holds a lock that others wait for, else the one who has held one for the longest.
local BLOCKERS = [[SELECT a.pid AS pid, COALESCE(a.usename, '?') AS who, COALESCE(NULLIF(a.application_name, ''), 'no name') AS app,
        l.relation::regclass::text AS tab, left(a.query, 200) AS query,
        extract(epoch FROM now() - a.xact_start)::int AS seconds
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY NOT EXISTS (SELECT FROM pg_locks w WHERE NOT w.granted AND w.relation = l.relation AND w.database = l.database),
        a.xact_start LIMIT 1]]

-- An error that came of waiting for a lock names who holds it.
local function blocker(job)
    local known, row = pcall(within, job, job.name, function(connection)
        return databases.rows(connection, BLOCKERS)[1]
    end)
    return known and row or nil
end

local function note_blocker(job)
    local own = job.own
    if not own.blocker and rt.now() > (own.looked or job.started) + 5000 then
        own.looked = rt.now()
        own.blocker = blocker(job)
    end
end

local function explain(job, err)
    local held = job.own.blocker
    local late = type(err) == "table" and (err.code == "lock_timeout" or tostring(err.message):find("lock timeout", 1, true))
    if held and late then
        rt.raise("lock_timeout", string.format("pg: %s is locked by process %d (%s, %s) for %d s: it would have to end before the"
            .. " database can be backed up: %s", held.tab, held.pid, held.who, held.app, held.seconds, held.query))
    end
    error(err, 0)
end

-- fn's result; where it waited for a lock in vain, an error that says who holds it.
local function unless_locked(job, fn)
    local result = table.pack(pcall(fn))
    if not result[1] then
        job.own.blocker = job.own.blocker or blocker(job)
        explain(job, result[2])
    end
    return table.unpack(result, 2, result.n)
end

-- ---- beginning and end ----

local function server_text(job)
    return databases.value(admin_of(job), "SELECT current_setting('server_version')")
end

--- Connects, and finds the programs.
function M.open(job)
    local connected, connection = pcall(within, job, job.name, function(live) return live end)
    if connected then -- else it is closed by a swap that broke off, or is not there
        preflight.refuse_pooler(connection)
    end
    job.own.alone = job.args.mode == "swap" or job.args.mode == "in_place"
    admin_of(job)
    job.server = server_text(job)
    job.own.programs = clients.find(job, job.own.version // 10000)
    if job.args.mode == "swap" and not swaps.swapped(job) then
        swaps.check(job)
    end
end

--- An archive that somebody made by hand: a folder, a custom file or a tar of pg_dump's. Nil: it is something else.
function M.recognise(job, path)
    local found = shared.file("stat", path)
    local folder = found and found.type == "directory"
    local head = folder and shared.file("stat", path .. "/toc.dat") and shared.head(path .. "/toc.dat", 5)
        or found and found.type == "file" and shared.head(path, 512)
    if head and (head:find("^PGDMP") or head:find("^toc%.dat\0")) then
        local command = clients.list(job, path)
        clients.await(job, command)
        clients.check(command, "backup_damaged", "reading what is in " .. path)
        return { path = path, archive = true }
    end
end

--- Ends what is under way, before it is cleaned up.
function M.abandon(job)
    local command = job.own.command
    if command then
        shared.stop_command(command)
        pcall(shared.await, command)
        job.own.command = nil
    end
    M.end_snapshot(job)
end

function M.end_snapshot(job)
    if job.own.snapshot then
        snapshots.close(job.own.snapshot)
        job.own.snapshot = nil
    end
end

--- Every session. Cannot raise.
function M.close(job)
    M.end_snapshot(job)
    close(job, "live")
    close(job, "admin")
end

-- ---- the dump ----

local IN_THE_WAY = { cannot_rename = true, in_use = true, replication = true, prepared_transaction = true }

-- What a swap would be refused for is better known before the migration than after it.
local function note_hindrance(job)
    local ok, err = pcall(swaps.check, job)
    if not ok and not IN_THE_WAY[err.code] then
        error(err, 0)
    elseif not ok then
        table.insert(job.own.notes, "as things are, a restore could not swap it in: " .. err.message)
    end
end

--- Refuses what would be no backup, or could not be proven, and chooses the way.
function M.preflight(job)
    M.open(job)
    unless_locked(job, function()
        within(job, job.name, function(connection)
            preflight.check(job, connection)
        end)
    end)
    note_hindrance(job)
    job.partial = job.partial:gsub("%.pgdump%.partial$", "") .. ".pgdump.partial"
end

-- Where nobody else is connected the copy is the server's own, and the archive is made from it.
local function start_clone(job)
    close(job, "live")
    local admin = admin_of(job)
    databases.run(admin, "CREATE DATABASE %s TEMPLATE %s OWNER %s", databases.name(job.scratch), databases.name(job.name),
        databases.name(job.source.owner))
    job.verified = "clone"
    job.own.dumped = job.scratch
    job.own.command = clients.dump(job, "custom")
end

-- The proof begins with the dump.
local function start_stream(job)
    local own = job.own
    if job.args.verify then
        M.create(job, job.scratch, job.source)
        job.loaded = job.scratch
        own.command = clients.dump_and_load(job, job.scratch, own.single)
    else
        own.command = clients.dump(job, "custom")
    end
end

--- Opens the snapshot and starts writing job.partial.
function M.start(job)
    local own = job.own
    own.dumped = job.name
    job.notes = #own.notes > 0 and own.notes or nil
    if job.shape == "clone" then
        start_clone(job)
    else
        own.snapshot = unless_locked(job, function() return snapshots.open(job, job.name) end)
        own.snapshot_id = own.snapshot.id
        job.locked_ms = 0
        if job.shape == "parallel" then
            own.command = clients.dump(job, "directory")
        else
            start_stream(job)
        end
    end
end

--- The fingerprint of what is dumped, while it is dumped.
function M.fingerprint(job, each)
    return unless_locked(job, function()
        if job.shape == "clone" then
            return snapshots.fingerprint_of(job, job.scratch, job.args.jobs)
        end
        return snapshots.fingerprint(job.own.snapshot, 1, each)
    end)
end

local COPIES = [[SELECT relid::text AS id, bytes_processed AS bytes FROM pg_stat_progress_copy
    WHERE datname = $1 AND command = $2]]

-- How far the copies of a database's tables have come. The total is what the tables take, about the same.
local function copied(job, database, command, total)
    local own = job.own
    own.seen = own.seen or { bytes = {} }
    local seen, bytes = own.seen, 0
    local known, running = pcall(databases.rows, admin_of(job), COPIES, database, command)
    for _, row in ipairs(known and running or {}) do
        seen.bytes[row.id] = math.max(row.bytes, seen.bytes[row.id] or 0)
    end
    for _, n in pairs(seen.bytes) do
        bytes = bytes + n
    end
    return { bytes = math.min(bytes, total), total = total }
end

--- { bytes, total } of the dump.
function M.progress(job)
    return copied(job, job.own.dumped or job.name, "COPY TO", job.own.bytes or 0)
end

--- Waits for the dump to be whole on disk.
function M.finish(job, each)
    local own = job.own
    while shared.watch(own.command, WATCH_MS) ~= "ended" do
        if each then
            each()
        end
        note_blocker(job)
    end
    local command = own.command
    own.command = nil
    M.end_snapshot(job)
    unless_locked(job, function()
        clients.check(command, "dump_failed", "the dump")
    end)
    if job.shape == "clone" then
        command = clients.read_through(job, job.partial)
        clients.await(job, command)
        clients.check(command, "not_proven", "reading the archive through")
    end
end

--- What a restore needs to know besides the fingerprint.
function M.manifest(job)
    local own = job.own
    return { single = own.single, needs = own.needs, notes = own.notes, bytes = own.bytes }
end

-- ---- databases ----

-- A copy that stands ready cannot be looked into, and need not: what was last done to it is its closing, of which its row
-- tells. The live database is never taken for one.
local CLOSED = "SELECT oid::text || ' ' || xmin::text FROM pg_database WHERE datname = $1 AND NOT datallowconn"

local function closed(job, name)
    return name ~= job.name and databases.value(admin_of(job), CLOSED, name) or nil
end

function M.source(job, name)
    return databases.source(admin_of(job), name)
end

function M.exists(job, name)
    return databases.exists(admin_of(job), name)
end

M.occupied = M.exists

function M.create(job, name, source)
    local admin = admin_of(job)
    if job.manifest and job.manifest.own then
        preflight.refuse_missing(admin, job.manifest.own.needs)
    end
    databases.create(admin, name, source)
    job.own.sources = job.own.sources or {}
    job.own.sources[name] = source
end

function M.drop(job, name)
    databases.drop(admin_of(job), name)
end

function M.size(job, name)
    return databases.size(admin_of(job), name)
end

-- A copy gets what the database was besides its tables. What only a superuser can give is told.
local function dress(job, name)
    local source = job.own.sources and job.own.sources[name] or job.source
    for _, statement in ipairs(databases.dress(admin_of(job), name, source)) do
        job.notes = job.notes or rt.json.array {}
        table.insert(job.notes, "the role may not set this again, a superuser has to do it after a swap: " .. statement)
    end
end

function M.rename(job, from, to)
    dress(job, from)
    databases.run(admin_of(job), "ALTER DATABASE %s RENAME TO %s", databases.name(from), databases.name(to))
end

-- Statistics are for whoever plans queries the moment it is swapped in.
local function analyse(connection)
    databases.run(connection, "SET maintenance_work_mem = '64MB'")
    databases.run(connection, "ANALYZE")
end

--- Makes it stand ready for a swap: counted, dressed as the live one was, and closed to everybody.
function M.freeze(job, name)
    local admin = admin_of(job)
    within(job, name, function(connection)
        analyse(connection)
        job.own.counters = written.position(connection)
    end)
    dress(job, name)
    databases.freeze(admin, name)
end

function M.thaw(job, name)
    databases.thaw(admin_of(job), name)
end

-- ---- loading ----

local function await_load(job, command, name, what)
    local own = job.own
    local total = job.manifest and job.manifest.own and job.manifest.own.bytes or own.bytes
    own.command, own.seen = command, nil
    clients.await(job, command, total and function()
        local now = copied(job, name, "COPY FROM", total)
        job.ctx.progress(now.bytes, total, "bytes")
    end)
    own.command = nil
    clients.check(command, "load", what)
end

--- The archive into an empty database.
function M.load(job, path, name)
    local own = job.manifest and job.manifest.own or job.own
    local command = clients.load(job, path, name, (job.manifest or job).shape ~= "parallel" and own.single, job.args.jobs)
    await_load(job, command, name, job.manifest and "loading the backup" or "restoring the backup to prove it")
end

--- A user's own dump.
function M.load_plain(job, plain, name)
    if plain.archive then
        local folder = shared.file("stat", plain.path).type == "directory"
        return await_load(job, clients.load(job, plain.path, name, not folder, job.args.jobs), name,
            "loading " .. plain.path)
    end
    await_load(job, clients.load_plain(job, plain.path, name, plain.gzip), name, "loading " .. plain.path)
end

function M.fingerprint_of(job, name)
    if closed(job, name) then
        databases.thaw(admin_of(job), name)
    end
    return snapshots.fingerprint_of(job, name, job.args.jobs or 1)
end

M.later = fingerprint.may_differ

-- ---- moments ----

--- This moment, as plain data: M.written_since tells what was written after it.
function M.position(job, name)
    local closing = closed(job, name)
    if closing then
        local position = job.own.counters or { tables = {} }
        position.closed = closing
        return position
    end
    return unless_locked(job, function()
        return within(job, name, function(connection)
            local position = written.position(connection)
            position.schema = fingerprint.schema_digest(connection).digest
            return position
        end)
    end)
end

--- { rows, tables } or nil, why.
function M.written_since(job, name, position)
    local closing = closed(job, name)
    if closing then
        if closing == position.closed then
            return { rows = 0, tables = {} }
        end
        return nil, "it was opened meanwhile"
    end
    return within(job, name, function(connection)
        return written.since(connection, position)
    end)
end

-- ---- the way back ----

--- Renames the scratch in. Returns the milliseconds for which clients were turned away.
function M.swap(job, facts, check)
    close(job, "live")
    admin_of(job)
    if not closed(job, job.scratch) then -- else an earlier try has left it ready, or the dump
        if job.from == "scratch" then
            databases.freeze(admin_of(job), job.scratch) -- it was looked into
        else
            M.freeze(job, job.scratch)
        end
    end
    return swaps.swap(job, facts, check)
end

function M.swapped(job)
    admin_of(job)
    return swaps.swapped(job)
end

function M.in_place(job)
    in_place.check(job)
    close(job, "live")
    in_place.restore(job)
end

return M
