-- Backups of PostgreSQL that are verified, and their way back, against the documented recipe (pg_dump > f, psql < f) and against
-- the floor (COPY of every table into nothing, CREATE DATABASE … TEMPLATE), on three shapes of data. The server syncs, as one in
-- production does.
--
-- BENCH_PG_SCALE is the size in percent of pgbench -s 100, two million rows of uuid and jsonb, 500 tables of 1000 rows; BENCH_PG
-- names the shapes (all: "pgbench documents small").
local bench = require "spec.bench.bench"
local files = require "spec.world.files"
local postgres = require "spec.world.postgres"
local process = require "spec.world.process"
local uv = require "luv"

local PERCENT = tonumber(os.getenv("BENCH_PG_SCALE") or 10)
local ONLY = os.getenv("BENCH_PG") or "pgbench documents small"

local programs = postgres.programs()
local server = postgres.start { settings = { fsync = "on", shared_buffers = "256MB", max_wal_size = "4GB", autovacuum = "on" } }
server:sql("DROP DATABASE app", "postgres")

local function seconds(run)
    local began = uv.hrtime()
    local result = run()
    return (uv.hrtime() - began) / 1e9, result
end

local function shell(text)
    local took, result = seconds(function()
        return process.run { "/bin/bash", "-euo", "pipefail", "-c", text, timeout = 900, env = { PGHOST = server.socket,
            PGPORT = tostring(server.port), PGUSER = "postgres", PATH = programs .. ":" .. os.getenv("PATH") } }
    end)
    assert(result.code == 0, result.err)
    return took
end

local PLAY = [[
playbook "pg" { environments = { "bench" } }
local fs, json = require "rollout.fs", require "rollout.json"
local db = require("rollout.pg").database(env.require { DATABASE_URL = { format = "postgresql" } }.DATABASE_URL)
%s
step("keep", function() fs.write("%s.json", json.encode(result)) end)
]]

-- Runs the steps; returns what they left in `result`, and the seconds of the whole host.
local function play(name, database, body)
    local command = bench.play(name, PLAY:format(body, name))
    command.env, command.cwd, command.timeout = { DATABASE_URL = server:url(database) }, bench.folder, 900
    local took, result = seconds(function() return process.run(command) end)
    assert(result.code == 0, result.out .. result.err)
    return require("dkjson").decode(files.read(bench.folder .. "/" .. name .. ".json")), took
end

local rows = PERCENT * 20000
local SHAPES = {
    { name = "pgbench", what = ("pgbench -s %d"):format(PERCENT), make = function()
        shell(("pgbench -i -q -s %d pgbench 2>&1"):format(PERCENT))
    end },
    { name = "documents", what = ("%d rows of uuid and jsonb"):format(rows), make = function()
        server:sql(([[CREATE TABLE documents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), doc jsonb, at timestamptz);
            INSERT INTO documents (doc, at) SELECT jsonb_build_object('n', i, 'name', md5(i::text), 'tags',
                jsonb_build_array('a', i %% 7, md5((i / 3)::text))), now() FROM generate_series(1, %d) i]]):format(rows),
            "documents")
    end },
    { name = "small", what = ("%d tables of 1000 rows"):format(PERCENT * 5), make = function()
        server:sql(([[DO $$ BEGIN FOR i IN 1..%d LOOP
            EXECUTE format('CREATE TABLE t%%s (id serial PRIMARY KEY, a text, b int, c timestamptz DEFAULT now())', i);
            EXECUTE format('INSERT INTO t%%s (a, b) SELECT md5(g::text), g FROM generate_series(1, 1000) g', i);
            END LOOP; END $$]]):format(PERCENT * 5), "small")
    end },
}

local COPY_ALL = [[for t in $(psql -Atc "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace =
    'public'::regnamespace" %s); do echo "COPY $t TO STDOUT;"; done | psql -q %s > /dev/null]]

-- What is written back to the disk later is not to be anybody's time.
local function settle(database)
    server:sql("CHECKPOINT", database)
    shell("sync")
end

local function measure(shape)
    local name, what = shape.name, shape.what
    server:sql("CREATE DATABASE " .. name .. " OWNER app", "postgres")
    shape.make()
    server:sql("ANALYZE; ALTER DATABASE " .. name .. " OWNER TO app", name)
    server:sql("GRANT pg_read_all_data TO app; ALTER ROLE app SUPERUSER", name)
    local file = bench.folder .. "/plain.sql"
    settle(name)
    local floor_dump = shell(COPY_ALL:format(name, name))
    settle(name)
    local dump = shell(("pg_dump %s > %s"):format(name, file))
    server:sql("CREATE DATABASE documented TEMPLATE template0", "postgres")
    settle(name)
    local restore = shell(("psql -q documented < %s"):format(file))
    settle(name)
    local floor_clone = shell(("createdb -T %s cloned"):format(name))
    settle(name)
    local made = play("dump_" .. name, name, [[
        local result = step("back up", { timeout = "15m" }, function()
            return db:dump { to = "backups/proven", keep_scratch = false }
        end)
    ]])
    bench.row { what = "pg: verified dump, " .. what, ours = made.ms / 1000, floor = dump + restore, unit = "s", times = 0.95 }
    settle(name)
    local plain = play("unverified_" .. name, name, [[
        local result = step("back up", { timeout = "15m" }, function() return db:dump { to = "backups/plain", verify = false } end)
    ]])
    bench.row { what = "pg: dump alone, with fingerprints, against pg_dump", ours = plain.ms / 1000, floor = dump, unit = "s" }
    bench.row { what = "pg: the same, against COPY of all into nothing", ours = plain.ms / 1000, floor = floor_dump, unit = "s" }
    settle(name)
    local cloned = play("clone_" .. name, name, [[
        local result = step("back up", { timeout = "15m" }, function()
            return db:dump { to = "backups/cloned", maintenance = true, keep_scratch = false }
        end)
    ]])
    bench.row { what = "pg: verified dump in maintenance, a clone", ours = cloned.ms / 1000, floor = dump + restore, unit = "s" }
    settle(name)
    local loaded = play("restore_" .. name, name, ([[
        local backup = json.decode(asset "dump_%s.json")
        local result = step("bring back", { timeout = "15m" }, function() return db:restore(backup, { loses = 1000000000 }) end)
    ]]):format(name))
    bench.row { what = "pg: restore from the archive, proven, swapped", ours = loaded.ms / 1000, floor = restore, unit = "s" }
    bench.row { what = "pg: the same, against CREATE DATABASE TEMPLATE", ours = loaded.ms / 1000, floor = floor_clone, unit = "s" }
    settle(name)
    local back = play("rollback_" .. name, name, [[
        local backup = step("back up", { timeout = "15m" }, function() return db:dump { to = "backups" } end)
        local result = step("bring back", { timeout = "15m" }, function() return db:restore(backup, { loses = 1000000000 }) end)
    ]])
    bench.row { what = "pg: rollback with the kept scratch", ours = back.ms / 1000, floor = restore, unit = "s", under = 0.5 }
    bench.row { what = "pg: for so long nobody could connect", ours = back.gap_ms, unit = "ms", under = 200 }
    files.remove(file)
    for database in server:sql("SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')",
        "postgres"):gmatch "[^\n]+" do
        server:sql(('DROP DATABASE "%s" WITH (FORCE)'):format(database), "postgres")
    end
end

for _, shape in ipairs(SHAPES) do
    if ONLY:find(shape.name, 1, true) then
        measure(shape)
    end
end
