-- The database's part of a dump: one moment of all tables, written and fingerprinted at once.
--
--   A  FLUSH TABLES WITH READ LOCK ────────────┐ UNLOCK at the dump's first CREATE
--   B      START TRANSACTION … SNAPSHOT ───────│──── fingerprints of every table
--   dump       mariadb-dump --single-transaction ──> X.partial ──> mariadb: the scratch
--
-- MariaDB exports no snapshot, so the lock makes B's and the dump's the same. It is held for milliseconds.
local native, rt, shared, driver, schema, client, position, rights = ...

local backup = { suffix = ".sql" }
local quote = schema.quote
local TRAILER = "%-%- Dump completed[^\n]*\n?$"
local LOCK_SECONDS, SNAPSHOT_MS = 10, 30000

-- The server finishes the statement of a host that died: until then nobody can tell what is so.
function backup.be_alone(job)
    local row = schema.rows(job.own.control, "SELECT GET_LOCK(?, 60) AS got", "rollouthost_"
        .. rt.sha256(job.name):sub(1, 16))[1]
    if row.got ~= 1 then
        rt.raise("busy", "mysql: another restore of " .. job.name .. " is under way on the server")
    end
end

--- The connection for everything that is not the snapshot, in no schema; a lost one is opened again.
function backup.control(job)
    local own = job.own
    if not own.control or not native.usable(own.control) then
        own.control = driver.open(job.database, "admin")
        schema.settle_session(own.control, job.args.lock_wait and job.args.lock_wait // 1000 or LOCK_SECONDS)
        if own.alone then
            backup.be_alone(job)
        end
    end
    return own.control
end

local control = backup.control

local function server(job)
    job.server = job.server or schema.rows(control(job), "SELECT VERSION() AS version")[1].version
    return job.server
end

-- ---- preflight ----

local function refuse_unsafe_tables(tables, names, args)
    local unsafe = {}
    for _, tab in ipairs(names) do
        if tables[tab].kind == "SYSTEM VERSIONED" then
            rt.raise("unsupported", "mysql: table " .. tab .. " is system-versioned, and a dump does not hold its history")
        elseif tables[tab].engine ~= "InnoDB" then
            unsafe[#unsafe + 1] = tab .. " (" .. tables[tab].engine .. ")"
        end
    end
    if #unsafe > 0 and not args.maintenance then
        rt.raise("not_transactional", string.format("mysql: no consistent backup while the application writes to %s;"
            .. " stop it and say maintenance = true, or ALTER TABLE … ENGINE=InnoDB", table.concat(unsafe, ", ")))
    end
end

-- What the server must allow is tried, not read out of grants: the answer is the server's own.
local function try_scratch(job)
    shared.end_predecessors(job.ctx, "dump") -- one that loads into it
    shared.end_predecessors(job.ctx, "load")
    local ok, err = pcall(function()
        backup.drop(job, job.scratch)
        backup.create(job, job.scratch, job.source)
    end)
    if not ok and err.code == "access_denied" then
        rt.raise("privileges", string.format("mysql: the backup is proven by restoring it into a schema of its own, and the"
            .. " user may not create %s: GRANT ALL ON `rh\\_%%`.*, or verify = false", job.scratch), { cause = err.message })
    elseif not ok then
        error(err, 0)
    end
end

local function shape(job, tables, names)
    local largest, name = -1, nil
    for _, tab in ipairs(names) do
        if tables[tab].bytes > largest then
            largest, name = tables[tab].bytes, tab
        end
    end
    job.shape = job.args.maintenance and "single" or "fenced"
    job.shape_why = #names == 0 and "no tables" or string.format("%d table%s, %.1f MiB, the largest is %s", #names,
        #names == 1 and "" or "s", job.expected / (1 << 20), name)
end

function backup.preflight(job)
    local connection = control(job)
    server(job)
    job.source = schema.defaults(connection, job.name)
    if not job.source then
        rt.raise("unknown_database", "mysql: there is no database " .. job.name)
    end
    rights.refuse_blind(connection, job.name)
    local tables, names = schema.tables(connection, job.name)
    if #names == 0 and not job.args.empty then
        rt.raise("empty", "mysql: " .. job.args.db .. " has no tables: is it the right database? If it is, say empty = true")
    end
    refuse_unsafe_tables(tables, names, job.args)
    for _, tab in ipairs(names) do
        job.expected = job.expected + tables[tab].bytes
        job.own.sequences = job.own.sequences or tables[tab].kind == "SEQUENCE"
    end
    shape(job, tables, names)
    job.own.tables = #names
    job.own.program = client.dump_program(job.ctx, job.server)
    if job.args.verify then
        try_scratch(job)
    end
end

-- ---- the snapshot ----

local function lock(connection, job)
    local seconds = job.args.lock_wait and job.args.lock_wait // 1000 or LOCK_SECONDS
    schema.settle_session(connection, seconds)
    local ok, err = pcall(schema.run, connection, "FLUSH TABLES WITH READ LOCK")
    if not ok and type(err.detail) == "table" and err.detail.errno == 1227 then
        rt.raise("privileges", "mysql: a backup that holds one moment needs RELOAD for FLUSH TABLES WITH READ LOCK; grant"
            .. " it, or stop the application and say maintenance = true", { cause = err.message })
    elseif not ok and err.code == "lock_timeout" then
        rt.raise("lock_timeout", string.format("mysql: a statement has been running for more than %d s, so the tables could"
            .. " not be locked for the backup: SHOW PROCESSLIST names it", seconds))
    elseif not ok then
        error(err, 0)
    end
end

function backup.start(job)
    local own = job.own
    if job.args.verify then
        backup.create(job, job.scratch, job.source) -- before the lock, which it would wait for
    end
    own.lock, own.snapshot = driver.open(job.database, "write"), driver.open(job.database, "write")
    if not job.args.maintenance then
        lock(own.lock, job)
    end
    local locked = rt.now()
    schema.begin_snapshot(own.snapshot)
    own.command = client.dump(job, own.program, job.partial, job.args.verify and job.scratch)
    local seen = shared.watch(own.command, SNAPSHOT_MS, job.partial, own.tables == 0 and "-- Dump completed" or "CREATE ")
    if not job.args.maintenance then
        schema.run(own.lock, "UNLOCK TABLES")
    end
    job.locked_ms = rt.now() - locked
    native.close(own.lock)
    if seen == "ended" and own.tables > 0 then
        client.check(own.command, "dump_failed", "the dump")
        rt.raise("dump_failed", "mysql: the dump ended without a table in it")
    elseif seen == "tick" then
        rt.raise("dump_failed", "mysql: the dump wrote no table within 30 s; the tables are unlocked again")
    end
end

function backup.fingerprint(job, report)
    local found
    found, job.own.objects = schema.fingerprint(job.own.snapshot, job.name, report)
    native.close(job.own.snapshot)
    return found
end

local function is_whole(path)
    return shared.tail(path, 256):find(TRAILER)
end

-- How many tables a schema that is being loaded has, of so many. The server opens none of them for that.
local function tables_of(job, name, total)
    local ok, found = pcall(schema.rows, control(job), "SELECT COUNT(*) AS n FROM information_schema.tables"
        .. " WHERE table_schema = ?", name)
    return ok and { done = math.min(found[1].n, total), total = total, unit = "tables" } or nil
end

--- { bytes, total, tables }: of what is loaded into the scratch, or, where nothing is, of what is written.
function backup.progress(job)
    local size = shared.size(job.partial) or 0
    if not job.args.verify then
        return { bytes = size, total = job.expected }
    end
    return { bytes = client.loaded(job) or size, total = is_whole(job.partial) and size or job.expected,
        tables = tables_of(job, job.scratch, job.own.tables) }
end

function backup.finish(job, report)
    while shared.watch(job.own.command, 250) ~= "ended" do
        report()
    end
    local loaded = client.dumped(job, job.own.command)
    job.own.command = nil
    if not is_whole(job.partial) then
        rt.raise("dump_failed", "mysql: the dump ended without its trailer, so it is not whole: is the disk full?")
    end
    job.loaded = loaded and job.args.verify and job.scratch or nil
end

function backup.abandon(job)
    local command = job.own.command
    if command then
        shared.stop_command(command)
        pcall(shared.await, command) -- its sessions hold what is to be dropped
    end
end

-- ---- schemas ----

function backup.exists(job, name)
    return schema.defaults(control(job), name) ~= nil
end

function backup.occupied(job, name)
    return #schema.names(control(job), name) > 0
end

function backup.create(job, name, source)
    schema.create(control(job), name, source)
end

function backup.drop(job, name)
    schema.run(control(job), "DROP DATABASE IF EXISTS %s", quote(name))
end

function backup.source(job, name)
    return schema.defaults(control(job), name)
end

-- MariaDB cannot close a schema to others; whether one wrote to it is looked at before it is used.
function backup.freeze()
end

function backup.size(job, name)
    local row = schema.rows(control(job), "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) AS bytes"
        .. " FROM information_schema.tables WHERE table_schema = ?", name)[1]
    return math.tointeger(tonumber(row.bytes)) or 0
end

-- Which views of a copy are meant to be what all of them are there.
local function invokers(job, name)
    if name == job.name then
        return nil
    end
    return job.own.invokers or schema.invokers(job.own.objects or job.manifest.own.objects)
end

function backup.fingerprint_of(job, name)
    local connection = control(job)
    schema.begin_snapshot(connection)
    local ok, found = pcall(schema.fingerprint, connection, name, shared.tell_tables(job), invokers(job, name))
    if native.usable(connection) then
        schema.run(connection, "COMMIT")
    end
    if not ok then
        error(found, 0)
    end
    return found
end

function backup.manifest(job, name)
    return { objects = rt.json.array(name and schema.objects(control(job), name, invokers(job, name)) or job.own.objects) }
end

--- Events of a copy would be run by the server's scheduler: they come last, into the live schema.
function backup.later(object)
    return object:find "^event " ~= nil
end

-- ---- loading ----

-- Tells how much of the archive has been read, and how many of its tables are there, if anybody knows how many there are.
local function teller(job, path, name)
    local total, tables = shared.size(path), 0
    for _ in pairs((job.manifest or job.fingerprint or {}).tables or {}) do
        tables = tables + 1
    end
    return job.ctx.progress and function()
        local bytes = client.loaded(job)
        if bytes then
            job.ctx.progress(bytes, total, "bytes", tables > 0 and tables_of(job, name, tables) or nil)
        end
    end
end

--- What a copy that is restored from gets from the manifest, in its place: a view that looks into other schemas names its own
--- too, and in the copy would need the live tables to be what they were.
function backup.settles(object)
    return backup.later(object) or object:find "^view " ~= nil
end

function backup.load(job, path, name)
    local copy = job.manifest and name ~= job.name
    client.load(job, server(job), name, path, { what = "restoring " .. path, no_views = copy, each = teller(job, path, name) })
    for _, found in ipairs(copy and schema.only(job.manifest.own.objects, "VIEW") or {}) do
        schema.try_view(control(job), name, found)
    end
end

function backup.load_plain(job, plain, name)
    client.refuse_leaving(job, plain)
    job.own.invokers = client.invokers(job, plain)
    client.load(job, server(job), name, plain.path, { what = "restoring " .. plain.path, gzip = plain.gzip,
        each = teller(job, plain.path, name) })
end

-- ---- positions ----

function backup.position(job, name, exact)
    return position.take(control(job), name, exact)
end

function backup.written_since(job, name, before, renamed)
    return position.written_since(control(job), name, before, job.manifest.tables, renamed)
end

function backup.close(job)
    for _, name in ipairs { "control", "lock", "snapshot" } do
        if job.own[name] then
            native.close(job.own[name])
        end
    end
end

return backup
