-- One moment of a database, seen by several sessions: the dump writes it, the others work out its fingerprint meanwhile.
local native, rt, lib = ...

local shared, databases, fingerprint = rt.native("database"), lib.databases, lib.fingerprint
local M = {}

--- Opens a snapshot that others can join: { id, version, sequences, connection, database, job }. It lasts as long as the
--- session. `sequences`: as they stood when it was opened.
function M.open(job, database)
    local snapshot = { job = job, database = database, connection = databases.connect(job, database) }
    local ok, err = pcall(function()
        snapshot.version = fingerprint.begin(snapshot.connection)
        snapshot.id = databases.value(snapshot.connection, "SELECT pg_export_snapshot()")
        snapshot.sequences = fingerprint.sequences(snapshot.connection, snapshot.version)
    end)
    if not ok then
        M.close(snapshot)
        error(err, 0)
    end
    return snapshot
end

function M.close(snapshot)
    native.close(snapshot.connection)
end

local function join(snapshot)
    local connection = databases.connect(snapshot.job, snapshot.database)
    local ok, err = pcall(fingerprint.begin, connection, snapshot.id)
    if not ok then
        native.close(connection)
        error(err, 0)
    end
    return connection
end

--- The fingerprint of a snapshot, by `sessions` at once. each(done, total) is called after each table.
function M.fingerprint(snapshot, sessions, each)
    local found = fingerprint.frame(snapshot.connection, snapshot.version, snapshot.sequences)
    local tables = fingerprint.tables(snapshot.connection, snapshot.version) -- the largest first
    local taken, done = 0, 0
    local function work(connection)
        while taken < #tables do
            taken = taken + 1
            local tab = tables[taken]
            fingerprint.put(found, tab, fingerprint.rows(connection, tab))
            done = done + 1
            if each then
                each(done, #tables)
            end
        end
    end
    local workers = { function() work(snapshot.connection) end }
    for i = 2, math.min(sessions, #tables) do
        workers[i] = function()
            local connection = join(snapshot)
            local ok, err = pcall(work, connection)
            native.close(connection)
            if not ok then
                error(err, 0)
            end
        end
    end
    rt.together(workers)
    return found
end

--- The same of a database as it is now.
function M.fingerprint_of(job, database, sessions)
    local snapshot = M.open(job, database)
    local ok, found = pcall(M.fingerprint, snapshot, sessions, shared.tell_tables(job))
    M.close(snapshot)
    if not ok then
        error(found, 0)
    end
    return found
end

return M
