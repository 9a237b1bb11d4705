-- db:restore: brings a backup back.
--
--   swap      load into a scratch schema, prove it, then one RENAME TABLE: the live tables into a schema that is kept, the
--             restored ones in. Before it the old state is whole, after it the new one; there is nothing between.
--   into      load into a schema of its own, and prove it there
--   in_place  drop what is there and load over it: for a user who may not create schemas, with the application stopped
--
-- A crash is found out by a marker table. It moves with the tables, in the same RENAME: while it is in the scratch schema
-- nothing has happened; once it is in the kept one the swap is done, and what is left (code, checks) is done again.
local native, rt, lib = ...

local schema, client, work = lib.schema, lib.client, rt.native("database")
local quote = schema.quote

-- ---- the file ----

local function damage(path, sha256)
    if not work.size(path) then
        return path .. " is not there"
    end
    if client.file("sha256", path) ~= sha256 then
        return string.format("%s (%d bytes) is not the file that was written: its checksum differs", path,
            work.size(path))
    end
end

-- The first of the backup and its copies that is whole, with its manifest. Nothing is touched before.
local function choose_file(args)
    local complaints = {}
    for _, path in ipairs { args.path, table.unpack(args.copies) } do
        local complaint = damage(path, args.sha256)
        local manifest_path = path .. ".manifest.json"
        if not complaint and not work.size(manifest_path) then
            complaint = manifest_path .. " is not there"
        end
        local text = not complaint and client.file("read", manifest_path, { limit = 256 << 20 })
        if text and args.manifest_sha256 and rt.sha256(text) ~= args.manifest_sha256 then
            complaint = manifest_path .. " is not the file that was written: its checksum differs"
        end
        if not complaint then
            return path, rt.json.decode(text)
        end
        complaints[#complaints + 1] = complaint
    end
    rt.raise("backup_damaged", "mysql: the backup cannot be restored, and nothing was touched: "
        .. table.concat(complaints, "; "))
end

-- ---- shared by the modes ----

local function prove(connection, name, manifest, what, without_events)
    local found = schema.fingerprint(connection, name)
    local wanted = { tables = manifest.tables, objects = schema.object_hashes(manifest.objects) }
    local differences = schema.differences(wanted, found, without_events)
    if #differences > 0 then
        rt.raise("not_proven", string.format("mysql: %s is not what was backed up:\n  %s", what,
            table.concat(differences, "\n  ", 1, math.min(#differences, 10))))
    end
end

local function load(job, name, what)
    client.load(job.ctx, job.database, job.server, name, job.file, what)
end

-- Rows of the live schema that the restore takes away, a table each; and how many tables differ at all.
local function losses(live, manifest)
    local lost, rows, changed = {}, 0, 0
    for tab, entry in pairs(live.tables) do
        local kept = manifest.tables[tab]
        if not kept or kept.rows ~= entry.rows or kept.hash ~= entry.hash or kept.definition ~= entry.definition then
            changed = changed + 1
            lost[tab] = { now = entry.rows, backup = kept and kept.rows or 0 }
            rows = rows + math.max(0, entry.rows - (kept and kept.rows or 0))
        end
    end
    return lost, rows, changed
end

-- Rows written since the recorded fingerprints: at least the difference of counts, at least one where values differ.
local function written_since(live, since)
    local total, where = 0, {}
    for tab, entry in pairs(live.tables) do
        local old = since.tables[tab]
        if not old or old.rows ~= entry.rows or old.hash ~= entry.hash then
            local count = math.max(1, math.abs(entry.rows - (old and old.rows or 0)))
            total = total + count
            where[#where + 1] = string.format("%s (%d)", tab, count)
        end
    end
    table.sort(where)
    return total, where
end

local function refuse_loss(job, live)
    if not job.args.since then
        return
    end
    local total, where = written_since(live, job.args.since)
    if total > (job.args.loses or 0) then
        rt.raise("would_lose_rows", string.format("mysql: at least %d row%s were written since, and the restore would lose"
            .. " them: %s; loses = %d allows it", total, total == 1 and "" or "s", table.concat(where, ", "), total),
            { rows = total })
    end
end

local function summary(job, more)
    local rows, tables = 0, 0
    for _, entry in pairs(job.manifest.tables) do
        rows, tables = rows + entry.rows, tables + 1
    end
    local result = { mode = job.args.mode, database = job.target, file = job.file, tables = tables, rows = rows,
        ms = rt.now() - job.started }
    for key, value in pairs(more) do
        result[key] = value
    end
    return result
end

-- ---- swap ----

-- The server finishes the statement of a host that died: until then nobody can tell what is so.
local function wait_for_predecessor(job)
    local row = schema.rows(job.connection, "SELECT GET_LOCK(?, 60) AS got", "rollouthost_"
        .. rt.sha256(job.target):sub(1, 16))[1]
    if row.got ~= 1 then
        rt.raise("busy", "mysql: another restore of " .. job.target .. " is under way on the server")
    end
end

local function find_marker(job)
    local row = schema.rows(job.connection, "SELECT table_schema AS name FROM information_schema.tables"
        .. " WHERE table_name = ?", job.marker)[1]
    return row and row.name
end

local function write_marker(job, facts)
    schema.run(job.connection, "CREATE TABLE %s.%s (facts LONGTEXT NOT NULL) ENGINE=InnoDB CHARACTER SET utf8mb4",
        quote(job.scratch), quote(job.marker))
    native.query(job.connection, string.format("INSERT INTO %s.%s VALUES (?)", quote(job.scratch), quote(job.marker)),
        { rt.json.encode(facts) })
end

local function read_marker(job, name)
    local row = schema.rows(job.connection, string.format("SELECT facts FROM %s.%s", quote(name), quote(job.marker)))[1]
    return row and rt.json.decode(row.facts)
end

local function refuse_foreign_references(job)
    local row = schema.rows(job.connection, "SELECT constraint_schema AS other, table_name AS tab"
        .. " FROM information_schema.referential_constraints WHERE unique_constraint_schema = ?"
        .. " AND constraint_schema <> ? LIMIT 1", job.target, job.target)[1]
    if row then
        rt.raise("unsupported", string.format("mysql: %s.%s has a foreign key into %s, which a swap would leave pointing at"
            .. " the old tables; drop it first, or use mode = \"in_place\"", row.other, row.tab, job.target))
    end
end

local function drop_if_empty(job, name)
    local _, names = schema.tables(job.connection, name)
    if #names == 0 then
        schema.run(job.connection, "DROP DATABASE IF EXISTS %s", quote(name))
    end
end

-- What an attempt that a crash ended before its RENAME has left: the live triggers may be gone already.
local function undo_preparation(job)
    if find_marker(job) == job.scratch then
        local facts = read_marker(job, job.scratch)
        if facts then
            schema.apply_objects(job.connection, job.target, facts.objects)
            drop_if_empty(job, facts.kept)
        end
    end
    schema.run(job.connection, "DROP DATABASE IF EXISTS %s", quote(job.scratch))
end

local function rename_statement(job, live, restored, kept)
    local moves = {}
    local function move(from, to, names)
        for _, tab in ipairs(names) do
            moves[#moves + 1] = string.format("%s.%s TO %s.%s", quote(from), quote(tab), quote(to), quote(tab))
        end
    end
    move(job.target, kept, live)
    move(job.scratch, job.target, restored)
    move(job.scratch, kept, { job.marker })
    return "RENAME TABLE " .. table.concat(moves, ", ")
end

local function rename(job, facts)
    local _, live = schema.tables(job.connection, job.target)
    local restored = {}
    for tab in pairs(job.manifest.tables) do
        restored[#restored + 1] = tab
    end
    table.sort(restored)
    schema.run(job.connection, "SET SESSION lock_wait_timeout = %d, foreign_key_checks = 0", job.args.lock_wait // 1000)
    local dropped = {}
    local ok, err = pcall(function()
        for i, trigger in ipairs(schema.only(facts.objects, "TRIGGER")) do
            schema.drop_objects(job.connection, job.target, { trigger })
            dropped[i] = trigger
        end
        schema.drop_objects(job.connection, job.scratch, schema.only(job.manifest.objects, "TRIGGER"))
        schema.run(job.connection, "%s", rename_statement(job, live, restored, facts.kept))
    end)
    if ok then
        return
    elseif not native.usable(job.connection) then
        error(err, 0) -- on which side of the swap it broke, the marker tells when the run is resumed
    end
    local undone, why = pcall(schema.create_objects, job.connection, job.target, dropped)
    if not undone then
        rt.raise("sql", err.message .. "; and triggers that were dropped before are missing: " .. tostring(why.message))
    end
    schema.run(job.connection, "DROP DATABASE %s", quote(job.scratch))
    schema.run(job.connection, "DROP DATABASE %s", quote(facts.kept))
    if err.code == "lock_timeout" then
        rt.raise("lock_timeout", string.format("mysql: a session holds a table of %s, so nothing was swapped: end it (SHOW"
            .. " PROCESSLIST names it) and try again", job.target))
    end
    error(err, 0)
end

local function kept_name(job)
    local name = job.target:sub(1, 40):gsub("[\128-\255]+$", "") .. "_broken_" .. client.stamp():gsub("-", "_")
    local free, n = name, 1
    while schema.defaults(job.connection, free) do
        n = n + 1
        free = name .. "_" .. n
    end
    return free
end

local function prepare_swap(job)
    local connection = job.connection
    undo_preparation(job)
    refuse_foreign_references(job)
    local live, objects = schema.fingerprint(connection, job.target)
    refuse_loss(job, live)
    local lost, lost_rows, changed = losses(live, job.manifest)
    local defaults = { charset = job.manifest.charset, collation = job.manifest.collation }
    schema.create(connection, job.scratch, defaults)
    load(job, job.scratch, "loading the backup beside the live tables")
    prove(connection, job.scratch, job.manifest, "the loaded backup", true)
    local facts = { kept = kept_name(job), objects = rt.json.array(objects), lost = lost, lost_rows = lost_rows,
        changed = changed }
    write_marker(job, facts)
    schema.create(connection, facts.kept, schema.defaults(connection, job.target))
    return facts
end

-- After the RENAME: all of it may be done again.
local function finish_swap(job, facts)
    local connection = job.connection
    schema.apply_objects(connection, job.target, job.manifest.objects)
    local found = schema.fingerprint(connection, job.target)
    local wanted = { tables = job.manifest.tables, objects = schema.object_hashes(job.manifest.objects) }
    -- The rows were proven in the scratch schema, and a RENAME does not touch them: others are the application's, written
    -- since the swap.
    local since = {}
    for tab, entry in pairs(found.tables) do
        local old = wanted.tables[tab]
        if old and old.definition == entry.definition and (old.rows ~= entry.rows or old.hash ~= entry.hash) then
            since[#since + 1] = tab
            entry.rows, entry.hash = old.rows, old.hash
        end
    end
    table.sort(since)
    local differences = schema.differences(wanted, found)
    if #differences > 0 then
        rt.raise("not_proven", "mysql: after the swap " .. job.target .. " is not what was backed up:\n  "
            .. table.concat(differences, "\n  ", 1, math.min(#differences, 10)))
    end
    schema.run(connection, "DROP DATABASE IF EXISTS %s", quote(job.scratch))
    return summary(job, { kept = facts.kept, lost = facts.lost, lost_rows = facts.lost_rows, changed = facts.changed,
        written_after = rt.json.array(since) })
end

local function swap(job)
    local at = find_marker(job)
    if at and at ~= job.scratch then
        return finish_swap(job, read_marker(job, at))
    end
    local ok, facts = pcall(prepare_swap, job)
    if not ok then
        if native.usable(job.connection) then
            pcall(native.query, job.connection, "DROP DATABASE IF EXISTS " .. quote(job.scratch), nil,
                { plain = true, must = true })
        end
        error(facts, 0)
    end
    rename(job, facts)
    return finish_swap(job, facts)
end

-- ---- the other modes ----

local function into(job)
    local name = job.args.into
    if schema.defaults(job.connection, name) then
        local _, names = schema.tables(job.connection, name)
        if #names > 0 and not job.ctx.adopting then
            rt.raise("exists", "mysql: the schema " .. name .. " has tables already, and nothing is overwritten")
        end
        schema.run(job.connection, "DROP DATABASE %s", quote(name))
    end
    schema.create(job.connection, name, { charset = job.manifest.charset, collation = job.manifest.collation })
    load(job, name, "loading the backup into " .. name)
    prove(job.connection, name, job.manifest, "the loaded backup", true)
    return summary(job, { database = name })
end

local function in_place(job)
    local live = schema.fingerprint(job.connection, job.target)
    refuse_loss(job, live)
    local lost, lost_rows, changed = losses(live, job.manifest)
    local tables, names = schema.tables(job.connection, job.target)
    schema.run(job.connection, "SET SESSION foreign_key_checks = 0, lock_wait_timeout = %d", job.args.lock_wait // 1000)
    schema.drop_objects(job.connection, job.target, schema.only(schema.objects(job.connection, job.target), "VIEW"))
    for _, tab in ipairs(names) do
        schema.run(job.connection, "DROP %s %s.%s", tables[tab].kind == "SEQUENCE" and "SEQUENCE" or "TABLE",
            quote(job.target), quote(tab))
    end
    load(job, job.target, "loading the backup")
    schema.apply_objects(job.connection, job.target, job.manifest.objects)
    prove(job.connection, job.target, job.manifest, "the restored database")
    return summary(job, { lost = lost, lost_rows = lost_rows, changed = changed })
end

local MODES = { swap = swap, into = into, in_place = in_place }

local function call(args, ctx)
    local file, manifest = choose_file(args)
    local database = lib.databases[args.db]
    local mark = client.mark(ctx, args.database)
    local job = {
        args = args, ctx = ctx, database = database, target = args.database, file = file, manifest = manifest,
        scratch = "rh_restore_" .. mark, marker = "rollouthost_" .. mark, started = rt.now(),
    }
    job.connection = lib.connect(database, "")
    schema.run(job.connection, "SET SESSION time_zone = '+00:00', sql_mode = '', lock_wait_timeout = %d",
        args.lock_wait // 1000)
    job.server = schema.rows(job.connection, "SELECT VERSION() AS version")[1].version
    if not schema.defaults(job.connection, job.target) then
        rt.raise("unknown_database", "mysql: there is no database " .. job.target .. " to restore into")
    end
    local ok, result = pcall(function()
        wait_for_predecessor(job)
        return MODES[args.mode](job)
    end)
    native.close(job.connection)
    if not ok then
        error(result, 0)
    end
    return result
end

local function check_backup(backup)
    if type(backup) ~= "table" then
        rt.raise("usage", "db:restore: expected what db:dump returned, got " .. type(backup))
    end
    for _, field in ipairs { "path", "sha256" } do
        if backup[field] == nil then
            rt.raise("usage", "db:restore: this is not what db:dump returned: it has no " .. field)
        end
    end
end

return rt.effect {
    name = "mysql.restore",
    class = "idempotent",
    args = function(database, backup, options)
        check_backup(backup)
        local given = rt.options(options or {}, {
            mode = "string", into = "string", loses = "integer", since = "table", lock_wait = "duration",
        }, "db:restore")
        local mode = given.mode or (given.into and "into" or "swap")
        if not MODES[mode] then
            rt.raise("usage", string.format("db:restore: mode is \"swap\", \"into\" or \"in_place\", not %q", mode))
        elseif (mode == "into") ~= (given.into ~= nil) then
            rt.raise("usage", "db:restore: into = \"schema\" goes with mode = \"into\"")
        end
        local name = client.need_database(database, "db:restore")
        if given.into == name then
            rt.raise("usage", "db:restore: into = the database itself; mode = \"swap\" does that without harm")
        end
        return {
            db = database.id, database = name, path = backup.path, sha256 = backup.sha256,
            manifest_sha256 = backup.manifest_sha256, copies = rt.json.array(backup.copies or {}), mode = mode,
            into = given.into, loses = given.loses, since = given.since, lock_wait = given.lock_wait or 30000,
        }
    end,
    describe = function(args)
        local how = args.mode == "swap" and "swapped in; the live tables are kept" or args.mode == "into"
            and "into " .. args.into or "over what is there"
        return string.format("restore %s from %s, %s", args.db, tostring(args.path), how)
    end,
    call = call,
    sample = function(args)
        return {
            mode = args.mode, database = args.into or args.database, file = args.path, tables = rt.unknown("tables"),
            rows = rt.unknown("rows"), kept = rt.unknown("kept schema"), lost = {}, lost_rows = rt.unknown("rows"),
            changed = rt.unknown("tables"), written_after = {}, ms = 0,
        }
    end,
}
