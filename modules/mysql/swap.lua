-- The database's part of a restore: all tables change places in one RENAME TABLE, the live ones into a schema that is kept.
-- Before it the old state is whole, after it the new one; there is nothing between.
--
-- A crash is found out by a marker table. It moves with the tables, in the same RENAME: while it is in the scratch schema
-- nothing has happened; once it is in the kept one the swap is done, and what is left (code, checks) is done again.
local native, rt, schema, client, backup, rights, gate = ...

local quote = schema.quote
local control = backup.control

local function marker_of(job)
    return "rollouthost_" .. job.mark
end

function backup.open(job)
    if not schema.defaults(control(job), job.name) then
        rt.raise("unknown_database", "mysql: there is no database " .. job.name .. " to restore into")
    end
    if job.args.mode ~= "into" then
        rights.refuse_blind(control(job), job.name) -- what it does not see would stay behind
    end
    job.own.alone = true
    backup.be_alone(job)
end

-- ---- the marker ----

local function read_marker(job, name)
    local row = schema.rows(control(job), string.format("SELECT facts FROM %s.%s", quote(name), quote(marker_of(job))))[1]
    return row and rt.json.decode(row.facts)
end

local function write_marker(job, facts, name)
    local marker = quote(name or job.scratch) .. "." .. quote(marker_of(job))
    schema.run(control(job), "CREATE TABLE IF NOT EXISTS %s (one INT PRIMARY KEY, facts LONGTEXT NOT NULL) ENGINE=InnoDB"
        .. " CHARACTER SET utf8mb4", marker)
    native.query(control(job), "REPLACE INTO " .. marker .. " VALUES (1, ?)", { rt.json.encode(facts) })
end

local function drop_marker(job, name)
    schema.run(control(job), "DROP TABLE IF EXISTS %s.%s", quote(name), quote(marker_of(job)))
end

local function drop_if_empty(job, name)
    if schema.defaults(control(job), name) and not backup.occupied(job, name) then
        backup.drop(job, name)
    end
end

-- What an attempt that ended before its RENAME has left: the live triggers may be gone already.
local function undo(job, facts, scratch)
    if facts then
        schema.apply_objects(control(job), job.name, facts.objects)
        drop_if_empty(job, facts.kept)
    end
    drop_marker(job, scratch)
end

--- The facts of this very swap if it has been done; undoes what one that was not has left.
function backup.swapped(job)
    local row = schema.rows(control(job), "SELECT table_schema AS name FROM information_schema.tables"
        .. " WHERE table_name = ?", marker_of(job))[1]
    if not row then
        return nil
    end
    local facts = read_marker(job, row.name)
    if facts and facts.kept == row.name then
        return facts
    end
    undo(job, facts, row.name)
end

-- ---- the swap ----

local function refuse_foreign_references(job)
    local row = schema.rows(control(job), "SELECT table_schema AS other, table_name AS tab"
        .. " FROM information_schema.key_column_usage WHERE referenced_table_schema = ? AND table_schema <> ? LIMIT 1",
        job.name, job.name)[1]
    if row then
        rt.raise("unsupported", string.format("mysql: %s.%s has a foreign key into %s, which a swap would leave pointing at"
            .. " the old tables; drop it first, or use mode = \"in_place\"", row.other, row.tab, job.name))
    end
end

local function add_moves(moves, from, to, names)
    for _, tab in ipairs(names) do
        moves[#moves + 1] = string.format("%s.%s TO %s.%s", quote(from), quote(tab), quote(to), quote(tab))
    end
end

local function moves_of(job, kept)
    local live, restored = schema.names(control(job), job.name), schema.names(control(job), job.scratch)
    local moves = {}
    add_moves(moves, job.name, kept, live)
    add_moves(moves, job.scratch, job.name, restored)
    add_moves(moves, job.scratch, kept, { marker_of(job) })
    return moves
end

-- A table with a trigger cannot change its schema.
local function move(job, facts, rename)
    schema.drop_objects(control(job), job.name, schema.only(facts.objects, "TRIGGER"))
    schema.drop_objects(control(job), job.scratch, schema.only(job.manifest.own.objects, "TRIGGER"))
    local began = rt.now()
    rename()
    return rt.now() - began
end

local function give_back(job, facts, err)
    if not native.usable(job.own.control) then
        error(err, 0) -- on which side of the swap it broke, the marker tells when the run is resumed
    end
    local ok, why = pcall(function()
        undo(job, facts, job.scratch)
        schema.create_objects(control(job), job.scratch, schema.only(job.manifest.own.objects, "TRIGGER"))
    end)
    if not ok then
        rt.raise("sql", err.message .. "; and triggers that were dropped before are missing: " .. tostring(why.message))
    elseif err.code == "lock_timeout" then
        rt.raise("lock_timeout", string.format("mysql: a session holds a table of %s, so nothing was swapped: end it (SHOW"
            .. " PROCESSLIST names it) and try again", job.name))
    end
    error(err, 0)
end

-- A user who may make scratches, and no other schema, has the live tables kept under a name like theirs.
local function make_kept(job, facts)
    local connection = control(job)
    local defaults = schema.defaults(connection, job.name)
    local ok, err = pcall(schema.create, connection, facts.kept, defaults)
    if not ok and err.code == "access_denied" then
        facts.kept = "rh_" .. facts.kept
        write_marker(job, facts)
        schema.create(connection, facts.kept, defaults)
    elseif not ok then
        error(err, 0)
    end
end

--- The scratch's tables in, the live ones under facts.kept. → milliseconds in which the tables could not be used
function backup.swap(job, facts, check)
    local connection, own = control(job), job.own
    refuse_foreign_references(job)
    facts.objects = rt.json.array(schema.objects(connection, job.name))
    local ok, gap = pcall(function()
        write_marker(job, facts)
        make_kept(job, facts)
        local moves = moves_of(job, facts.kept)
        own.gate = gate.open(job, facts.kept)
        local watched = own.gate and gate.mark(own.gate, connection, check)
        if watched then
            gate.add_moves(own.gate, moves)
        else
            check()
        end
        local statement = "RENAME TABLE " .. table.concat(moves, ", ")
        schema.run(connection, "SET SESSION lock_wait_timeout = %d, foreign_key_checks = 0", job.args.lock_wait // 1000)
        write_marker(job, facts) -- with what it lost
        return move(job, facts, function()
            if watched then
                gate.pass(own.gate, connection, statement, check)
            else
                schema.run(connection, "%s", statement)
            end
        end)
    end)
    if own.gate then
        gate.close(own.gate)
        own.gate = nil
    end
    if not ok then
        give_back(job, facts, gap)
    end
    return gap
end

--- Code and events, as the backup has them.
function backup.settle(job)
    local objects = job.manifest.own.objects
    schema.apply_objects(control(job), job.name, objects)
    if job.plain then
        client.load_events(job, job.server, job.name, job.plain)
    end
end

-- ---- the other modes ----

local function without_events(objects)
    local some = {}
    for _, found in ipairs(objects) do
        if found.kind ~= "EVENT" then
            some[#some + 1] = found
        end
    end
    return some
end

--- A loaded copy gets its final name; may be called again.
function backup.rename(job, from, to)
    local connection = control(job)
    local objects = job.manifest.own.objects
    if not schema.defaults(connection, to) then
        schema.create(connection, to, schema.defaults(connection, from))
    end
    local names = schema.names(connection, from)
    if #names > 0 then
        local moves = {}
        add_moves(moves, from, to, names)
        schema.drop_objects(connection, from, schema.only(objects, "TRIGGER"))
        schema.run(connection, "SET SESSION foreign_key_checks = 0")
        schema.run(connection, "%s", "RENAME TABLE " .. table.concat(moves, ", "))
    end
    schema.apply_objects(connection, to, without_events(objects))
    backup.drop(job, from)
end

local function replace(job)
    local connection = control(job)
    local names, kinds = schema.names(connection, job.name)
    schema.run(connection, "SET SESSION foreign_key_checks = 0")
    schema.drop_objects(connection, job.name, schema.only(schema.objects(connection, job.name), "VIEW"))
    for _, tab in ipairs(names) do
        schema.run(connection, "DROP %s %s.%s", kinds[tab] == "SEQUENCE" and "SEQUENCE" or "TABLE", quote(job.name),
            quote(tab))
    end
    backup.load(job, job.file, job.name)
    schema.apply_objects(connection, job.name, job.manifest.own.objects)
end

--- What is known of this very restore in place, where a host that died has begun it: { lost, lost_rows }; else nil.
function backup.begun(job)
    local row = schema.rows(control(job), "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = ?"
        .. " AND table_name = ?", job.name, marker_of(job))[1]
    return row and read_marker(job, job.name)
end

--- The archive over what is there, a table at a time: until it has ended the schema is neither.
function backup.in_place(job)
    write_marker(job, { lost = job.lost, lost_rows = job.lost_rows }, job.name)
    local ok, err = pcall(replace, job)
    if not ok and type(err) == "table" and err.code == "load" then
        err.message = string.format("%s. %s is not whole: restore it again", err.message, job.name)
    end
    if ok or native.usable(job.own.control) then
        drop_marker(job, job.name)
    end
    if not ok then
        error(err, 0)
    end
end

return backup
