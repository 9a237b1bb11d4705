-- db:dump: a backup that is proven before it gets its name.
--
--   A  FLUSH TABLES WITH READ LOCK ────────────┐ UNLOCK at the dump's first CREATE
--   B      START TRANSACTION … SNAPSHOT ───────│──── fingerprints of every table ──────┐ compared
--   dump       mariadb-dump --single-transaction ──> X.partial ── trailer ── scratch ──┘ ── fsync, rename, copies
--
-- MariaDB exports no snapshot, so the lock makes B's and the dump's the same. It is held for milliseconds.
local native, rt, lib = ...

local schema, client, work = lib.schema, lib.client, rt.native("database")
local quote = schema.quote
local TRAILER = "%-%- Dump completed[^\n]*\n?$"
local LOCK_SECONDS, SNAPSHOT_MS = 10, 30000

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

local function refuse_full_disk(folder, expected)
    local free = client.file("free", folder)
    if free < expected then
        rt.raise("disk_full", string.format("mysql: the backup may need %d MiB, and %s has %d MiB free", expected >> 20,
            folder, free >> 20))
    end
end

-- What the server must allow is tried, not read out of grants: the answer is the server's own.
local function make_scratch(connection, name, defaults)
    local ok, err = pcall(function()
        schema.run(connection, "DROP DATABASE IF EXISTS %s", quote(name))
        schema.create(connection, name, defaults)
    end)
    if not ok and err.code == "access_denied" then
        rt.raise("privileges", string.format("mysql: the backup is proven by restoring it into a schema of its own, and the"
            .. " user may not create %s: GRANT ALL ON `rh\\_%%`.*, or verify = false", name), { cause = err.message })
    elseif not ok then
        error(err, 0)
    end
end

local function lock(connection, args)
    if args.maintenance then
        return
    end
    schema.run(connection, "SET SESSION lock_wait_timeout = %d", LOCK_SECONDS)
    local ok, err = pcall(schema.run, connection, "FLUSH TABLES WITH READ LOCK")
    if not ok and type(err.detail) == "table" and err.detail.errno == 1227 then
        rt.raise("privileges", "mysql: a backup that holds one moment needs RELOAD for FLUSH TABLES WITH READ LOCK; grant"
            .. " it, or stop the application and say maintenance = true", { cause = err.message })
    elseif not ok and err.code == "lock_timeout" then
        rt.raise("lock_timeout", string.format("mysql: a statement has been running for more than %d s, so the tables could"
            .. " not be locked for the backup: SHOW PROCESSLIST names it", LOCK_SECONDS))
    elseif not ok then
        error(err, 0)
    end
end

local function dump_failed(command)
    client.check(command, "dump_failed", "the dump")
    rt.raise("dump_failed", "mysql: the dump ended without a table in it")
end

-- Returns the running dump and the milliseconds of the lock.
local function start_dump(job)
    local a = job.connections.lock
    lock(a, job.args)
    local locked = rt.now()
    schema.begin_snapshot(job.connections.snapshot)
    job.command = client.dump(job.ctx, job.database, job.program, job.args.database, job.partial)
    local seen = work.watch(job.command, SNAPSHOT_MS, job.partial, "CREATE ")
    if not job.args.maintenance then
        schema.run(a, "UNLOCK TABLES")
    end
    local held = rt.now() - locked
    native.close(a)
    if seen == "ended" then
        dump_failed(job.command)
    elseif seen == "tick" then
        rt.raise("dump_failed", "mysql: the dump wrote no table within 30 s; the tables are unlocked again")
    end
    return held
end

local function report(job, what)
    if job.ctx.progress then
        job.ctx.progress(work.size(job.partial) or 0, job.expected, what or "bytes")
    end
end

local function await_dump(job)
    while work.watch(job.command, 250) ~= "ended" do
        report(job)
    end
    client.check(job.command, "dump_failed", "the dump")
    if not work.tail(job.partial, 256):find(TRAILER) then
        rt.raise("dump_failed", "mysql: the dump ended without its trailer, so it is not whole: is the disk full?")
    end
end

local function verify(job)
    local control, scratch = job.connections.control, job.scratch
    client.load(job.ctx, job.database, job.server, scratch, job.partial, "restoring the backup to prove it")
    schema.begin_snapshot(control)
    local found = schema.fingerprint(control, scratch)
    schema.run(control, "COMMIT")
    local differences = schema.differences(job.fingerprint, found, true)
    if #differences > 0 then
        rt.raise("not_proven", "mysql: the backup, restored, is not what was backed up:\n  "
            .. table.concat(differences, "\n  ", 1, math.min(#differences, 10)))
    end
    schema.run(control, "DROP DATABASE %s", quote(scratch))
end

local function count_rows(fingerprint)
    local rows, tables = 0, 0
    for _, entry in pairs(fingerprint.tables) do
        rows, tables = rows + entry.rows, tables + 1
    end
    return rows, tables
end

local function manifest_text(job, sha256, bytes)
    return rt.json.encode {
        format = 1,
        made_by = job.scratch,
        database = job.args.database,
        server = job.server,
        charset = job.defaults.charset,
        collation = job.defaults.collation,
        sha256 = sha256,
        bytes = bytes,
        tables = job.fingerprint.tables,
        objects = rt.json.array(job.objects),
    }
end

-- Gives the proven file its name, here and in the other folders. Its manifest comes first, and tells a host that resumes
-- whose the file is.
local function publish(job)
    local sha256, bytes = client.file("sha256", job.partial), work.size(job.partial)
    local manifest = manifest_text(job, sha256, bytes)
    client.file("write", job.path .. ".manifest.json", { data = manifest, mode = 384 })
    work.publish(job.partial, job.path)
    local copies = {}
    for _, folder in ipairs(job.also) do
        local copy = folder .. "/" .. job.name
        if client.file("copy", job.path, { to = copy, mode = 384 }).sha256 ~= sha256 then
            rt.raise("checksum", "mysql: the copy " .. copy .. " differs from the backup")
        end
        client.file("write", copy .. ".manifest.json", { data = manifest, mode = 384 })
        copies[#copies + 1] = copy
    end
    return sha256, bytes, rt.sha256(manifest), copies
end

local function prepare(job)
    local args, ctx = job.args, job.ctx
    local control = lib.connect(job.database)
    job.connections.control = control
    schema.run(control, "SET SESSION lock_wait_timeout = %d", LOCK_SECONDS)
    job.server = schema.rows(control, "SELECT VERSION() AS version")[1].version
    job.defaults = schema.defaults(control, args.database)
    local tables, names = schema.tables(control, args.database)
    if #names == 0 then
        rt.raise("empty", "mysql: " .. args.db .. " has no tables: is it the right database?")
    end
    refuse_unsafe_tables(tables, names, args)
    for _, tab in ipairs(names) do
        job.expected = job.expected + tables[tab].bytes
    end
    refuse_full_disk(job.folder, job.expected * 3 // 2)
    for _, folder in ipairs(job.also) do
        refuse_full_disk(folder, job.expected * 3 // 2)
    end
    job.program = client.dump_program(ctx, job.server)
    if args.verify then
        make_scratch(control, job.scratch, job.defaults)
    end
    job.connections.lock = lib.connect(job.database)
    job.connections.snapshot = lib.connect(job.database)
end

local function back_up(job)
    prepare(job)
    local held = start_dump(job)
    job.fingerprint, job.objects = schema.fingerprint(job.connections.snapshot, job.args.database, function()
        report(job)
    end)
    await_dump(job)
    if job.args.verify then
        verify(job)
    end
    local sha256, bytes, manifest_sha256, copies = publish(job)
    local rows, tables = count_rows(job.fingerprint)
    return {
        path = job.path, bytes = bytes, sha256 = sha256, copies = rt.json.array(copies),
        manifest = job.path .. ".manifest.json", manifest_sha256 = manifest_sha256,
        database = job.args.database, server = job.server, tables = tables, rows = rows,
        verified = job.args.verify, locked_ms = held, ms = rt.now() - job.started,
    }
end

-- Runs also when the task is being cancelled: nothing here can be cut short, and nothing may raise.
local function clean_up(job)
    if job.command then
        work.stop_command(job.command)
    end
    for _, name in ipairs { "lock", "snapshot" } do
        if job.connections[name] then
            native.close(job.connections[name])
        end
    end
    local control = job.connections.control
    if control and job.args.verify and native.usable(control) then
        pcall(native.query, control, "DROP DATABASE IF EXISTS " .. quote(job.scratch), nil, { plain = true, must = true })
    end
    pcall(work.remove, job.partial)
end

local function folder_of(path)
    client.file("mkdir", path, { mode = 448 })
    return work.absolute(path)
end

-- A host that died after this very dump had its name, and before that was recorded: it is made again.
local function remove_own(job)
    local manifest = job.path .. ".manifest.json"
    if not job.ctx.again or not work.size(manifest)
        or rt.json.decode(client.file("read", manifest, { limit = 256 << 20 })).made_by ~= job.scratch then
        return false
    end
    work.remove(job.path)
    return true
end

local function call(args, ctx)
    local folder = folder_of(args.to)
    local also = {}
    for i, path in ipairs(args.also) do
        also[i] = folder_of(path)
    end
    local name = args.name or args.database:gsub("[^%w._-]", "_") .. "-" .. client.stamp() .. ".sql"
    local scratch = "rh_verify_" .. client.mark(ctx, args.database)
    local job = {
        args = args, ctx = ctx, database = lib.databases[args.db], folder = folder, also = also, name = name,
        path = folder .. "/" .. name, partial = folder .. "/" .. scratch:sub(4) .. ".sql.partial",
        scratch = scratch, expected = 0, connections = {}, started = rt.now(),
    }
    if work.size(job.path) and not remove_own(job) then
        rt.raise("exists", "mysql: " .. job.path .. " is there already, and a backup overwrites nothing")
    end
    work.remove(job.partial) -- of a host that died
    local ok, result = pcall(back_up, job)
    if not ok then
        clean_up(job)
        error(result, 0)
    end
    native.close(job.connections.control)
    native.close(job.connections.snapshot)
    return result
end

return rt.effect {
    name = "mysql.dump",
    class = "idempotent",
    args = function(database, options)
        local given = rt.options(options or {}, {
            to = { "string", required = true }, name = "string", also = "table", verify = "boolean", maintenance = "boolean",
        }, "db:dump")
        if given.name and (given.name:find("/", 1, true) or given.name == "") then
            rt.raise("usage", "db:dump: name is a file's name without a folder; the folder is to = …")
        end
        for i, folder in ipairs(given.also or {}) do
            if type(folder) ~= "string" then
                rt.raise("usage", string.format("db:dump: also[%d] is a %s, expected a folder", i, type(folder)))
            end
        end
        return {
            db = database.id, database = client.need_database(database, "db:dump"), to = given.to, name = given.name,
            also = rt.json.array(given.also or {}), verify = given.verify ~= false, maintenance = given.maintenance or false,
        }
    end,
    describe = function(args)
        local folders = { args.to, table.unpack(args.also) }
        return "back up " .. args.db .. " to " .. table.concat(folders, " and ")
            .. (args.verify and ", proven by a restore" or ", not verified")
    end,
    call = call,
    sample = function(args)
        return {
            path = rt.unknown("path of the backup"), bytes = rt.unknown("bytes"), sha256 = rt.unknown("sha256"),
            copies = {}, manifest = rt.unknown("manifest"), manifest_sha256 = rt.unknown("sha256"),
            database = args.database, server = rt.unknown("version"), tables = rt.unknown("tables"),
            rows = rt.unknown("rows"), verified = args.verify, locked_ms = 0, ms = 0,
        }
    end,
    exact = { "path", "manifest", "copies", "to", "also", "name" },
}
