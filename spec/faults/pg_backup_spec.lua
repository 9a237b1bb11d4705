-- Backups of PostgreSQL in bad luck: roles that see too little, locks, full disks, servers that die.
local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"
local postgres = require "spec.world.postgres"
local process = require "spec.world.process"
local proxy = require "spec.world.proxy"

describe("pg db:dump is refused", function()
    local server, url

    setup(function()
        server = t.postgres()
        url = server:url()
    end)

    before_each(function()
        play.fresh(server, play.SHOP)
    end)

    local function refused(code, options, as)
        local folder = t.temp()
        local value, problem = play.body(as or url, ("return db:dump { to = %q, %s }"):format(folder, options or ""))
        assert.is_nil(value)
        assert.equal(code, problem.code, problem.message)
        assert.same({}, t.list(folder))
        assert.equal("", play.scratches(server))
        return problem.message
    end

    it("to a role from which row security hides rows", function()
        server:sql([[ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY;
            CREATE POLICY few ON users USING (id < 10)]])
        local said = refused("row_security")
        assert.matches("public%.users", said)
        assert.matches("ALTER ROLE app BYPASSRLS", said)
        server:sql("ALTER TABLE users NO FORCE ROW LEVEL SECURITY") -- its owner sees all
        assert.is_true(play.value(url, ("return db:dump { to = %q }"):format(t.temp())).verified)
    end)

    it("to a role that may not read everything", function()
        server:sql("CREATE TABLE payroll (a int); CREATE SEQUENCE hidden")
        assert.matches("may not read public%.hidden, public%.payroll", refused("privileges"))
    end)

    it("to a role that may not create the database that proves it; unproven it may be", function()
        server:sql("ALTER ROLE app NOCREATEDB", "postgres")
        assert.matches("ALTER ROLE app CREATEDB, or verify = false", refused("privileges"))
        local backup = play.value(url, ("return db:dump { to = %q, verify = false }"):format(t.temp()))
        server:sql("ALTER ROLE app CREATEDB", "postgres")
        assert.is_false(backup.verified)
        assert.equal("archive", play.value(url, ("return db:restore(%s)"):format(play.lua(backup))).from)
    end)

    it("to a role that could not restore it: an extension, an owner", function()
        server:sql("CREATE EXTENSION postgres_fdw")
        assert.matches("only a superuser can create the extension postgres_fdw", refused("privileges"))
        server:sql("DROP EXTENSION postgres_fdw; CREATE ROLE stranger; CREATE TABLE theirs (a int);"
            .. "ALTER TABLE theirs OWNER TO stranger; GRANT SELECT ON theirs TO app")
        assert.matches("GRANT stranger TO app", refused("privileges"))
        server:sql("DROP TABLE theirs; DROP ROLE stranger")
    end)

    it("through a pooler in transaction mode", function()
        local bouncer = require("spec.world.pgbouncer").start(server)
        assert.matches("URL of the server behind it", refused("pooler", nil, bouncer:url()))
    end)

    it("while a migration holds a table, and says who", function()
        local holder = t.start { "psql", "--no-psqlrc", "--quiet", server:url(), input = true, env = { PGAPPNAME = "migrate" } }
        holder:write("BEGIN; ALTER TABLE users ADD COLUMN slow int;\n")
        t.eventually("it holds", function()
            return server:sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
                .. " AND relation = 'nokey'::regclass OR mode = 'AccessExclusiveLock' AND relation = 'users'::regclass") ~= "0"
        end)
        local said = refused("lock_timeout", "lock_wait = '1s'")
        holder:kill()
        assert.matches("users is locked by process %d+ %(app, migrate%)", said)
        assert.matches("ALTER TABLE users ADD COLUMN slow int", said)
    end)

    it("where pg_dump is older than the server; an older one in PATH does no harm beside the server's own", function()
        local folder = t.temp()
        t.write(folder .. "/bin/pg_dump", "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n", "755")
        local path = folder .. "/bin:" .. os.getenv("PATH")
        local backup = play.value(url, ("return db:dump { to = %q }"):format(folder), { env = { PATH = path } })
        assert.is_true(backup.verified)
        local playbook = t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local db = require("rollout.pg").database(secret "DATABASE_URL")
            step("it", function() return db:dump { to = %q } end)
        ]]):format(t.temp()))
        -- A machine without the server's programs, in a mount namespace of its own.
        local result = t.run { "unshare", "-m", "sh", "-c", 'mount -t tmpfs none /usr/lib/postgresql || exit 99; exec "$@"', "sh",
            t.binary, playbook, "--state", folder .. "/state", env = { PATH = path, DATABASE_URL = url }, timeout = 60 }
        if result.code == 99 or result.err:find("unshare failed") then
            pending("this machine gives no mount namespace: " .. result.err)
            return
        end
        assert.equal(1, result.code, result.out .. result.err)
        assert.matches("pg_dump is version 9%.6%.24 and the server 15", result.out)
        assert.matches("postgresql%-client%-15", result.out)
    end)
end)

describe("pg db:dump and db:restore, when the disk is full,", function()
    -- A file system of that many MiB, or nil and why.
    local function small(mebibytes)
        local folder = t.temp()
        local result = t.run { "mount", "-t", "tmpfs", "-o", "size=" .. mebibytes .. "m,mode=777", "tmpfs", folder }
        if result.code ~= 0 then
            return nil, result.err
        end
        t.finally(function() t.run { "umount", "--lazy", folder } end)
        return folder
    end

    local function grow(server, rows)
        server:sql(("SET ROLE app; CREATE TABLE big AS SELECT i, md5(i::text) || md5((i + 1)::text) AS a"
            .. " FROM generate_series(1, %d) i"):format(rows))
    end

    it("here: nothing is left that looks like a backup", function()
        local folder, why = small(60)
        if not folder then
            pending("cannot mount: " .. why)
            return
        end
        local server = t.postgres()
        play.fresh(server)
        grow(server, 250000) -- 25 MiB
        local host = play.start(server:url(), ("db:dump { to = %q }"):format(folder))
        t.eventually("it writes", function()
            return host.code or t.list(folder)[1]
        end, 30)
        t.run { "sh", "-c", 'cat /dev/zero > "$1/other"', "sh", folder } -- until nothing more goes in
        host:wait(60)
        assert.equal(1, host.code)
        assert.matches("No space left on device", host.out)
        assert.same({ "other" }, t.list(folder))
        assert.equal("", play.scratches(server))
        local _, problem = play.body(server:url(), ("return db:dump { to = %q }"):format(folder))
        assert.equal("disk_full", problem.code, problem.message) -- and told before anything is done
    end)

    it("there: the proof fails, the copy is removed, the live database is as it was", function()
        local place, why = small(50)
        if not place then
            pending("cannot mount: " .. why)
            return
        end
        local server = t.postgres { settings = { wal_level = "minimal", max_wal_senders = 0, max_wal_size = "64MB" } }
        postgres.give(place)
        server:sql(("CREATE TABLESPACE small LOCATION '%s'"):format(place), "postgres")
        server:sql("DROP DATABASE app; CREATE DATABASE app OWNER app TABLESPACE small; GRANT CREATE ON TABLESPACE small TO app",
            "postgres")
        grow(server, 250000) -- more than half of it
        local before = play.fingerprints(server:url())
        local folder = t.temp()
        local value, problem = play.body(server:url(), ("return db:dump { to = %q }"):format(folder))
        assert.is_nil(value)
        assert.matches("No space left on device", problem.message)
        assert.same({}, t.list(folder))
        assert.equal("", play.scratches(server))
        assert.same(before, play.fingerprints(server:url()))
        local unproven = play.value(server:url(), ("return db:dump { to = %q, verify = false }"):format(t.temp()))
        value, problem = play.body(server:url(), ("return db:restore(%s, { loses = 1000000 })"):format(play.lua(unproven)))
        assert.is_nil(value)
        assert.matches("No space left on device", problem.message)
        assert.equal("", play.scratches(server))
        assert.same(before, play.fingerprints(server:url()))
    end)
end)

describe("pg db:dump, when the server or the connection dies,", function()
    local PHASES = { "pg_export_snapshot", "CREATE DATABASE", "COPY", "hash", "ANALYZE", "ALLOW_CONNECTIONS false" }

    local function database(server)
        play.fresh(server, [[CREATE TABLE t AS SELECT i, md5(i::text) AS a FROM generate_series(1, 20000) i;
            CREATE INDEX ON t (a)]])
    end

    for _, phase in ipairs(PHASES) do
        it("says so and leaves no backup, and the next one is whole: at " .. phase, function()
            local server = t.postgres()
            database(server)
            local done, doomed = false, false
            local watched = proxy.start(server.port, function(bytes, to_server)
                if to_server and not done and bytes:find(phase, 1, true) then
                    done, doomed = true, true
                    return "hold"
                end
            end)
            local folder = t.temp()
            local through = server:url():gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. watched.port) .. "?sslmode=disable"
            local host, state, variables = play.start(through, ("db:dump { to = %q }"):format(folder))
            t.eventually("the host ends", function()
                if doomed then -- not within the proxy's callback, which libuv is in
                    doomed = false
                    server:kill()
                end
                return host.code
            end, 60)
            host:wait()
            assert.is_true(done, "the phase did not come")
            assert.equal(1, host.code, host.out .. host.err)
            assert.same({}, t.list(folder))
            server:up()
            local result = play.resume(state, variables)
            assert.equal(0, result.code, result.out .. result.err)
            assert.equal(2, #t.list(folder))
            process.turn_until(function() return play.scratches(server) == "" end, 5)
            assert.equal("", play.scratches(server))
        end)
    end

    it("a host that is killed leaves nothing that a resumed run does not clear away", function()
        local server = t.postgres()
        database(server)
        for n = 3, 60, 12 do
            local count, host = 0, nil
            local watched = proxy.start(server.port, function(_, to_server)
                count = count + (to_server and 1 or 0)
                if count == n and host then
                    host:kill("sigkill")
                end
            end)
            local folder = t.temp()
            local through = server:url():gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. watched.port) .. "?sslmode=disable"
            local state, variables
            host, state, variables = play.start(through, ("db:dump { to = %q }"):format(folder))
            host:wait(60)
            local result = play.resume(state, variables)
            assert.equal(0, result.code, n .. ": " .. result.out .. result.err)
            assert.equal(2, #t.list(folder), n)
            assert.equal("", play.scratches(server), n)
        end
    end)

    it("a host that is killed while the server makes its scratch is no obstacle to the next", function()
        local server = t.postgres()
        database(server)
        local making = "query LIKE 'CREATE DATABASE%' AND state = 'active'"
        local holder = t.start { postgres.programs() .. "/psql", "--no-psqlrc", "--host=" .. server.socket,
            "--port=" .. server.port, "--username=postgres", "--dbname=postgres",
            input = "BEGIN; LOCK TABLE pg_database IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(600);" }
        t.eventually("the lock", function() return server:running "SELECT pg_sleep(600)%" == 1 end)
        local host, state, variables = play.start(server:url(), ("db:dump { to = %q }"):format(t.temp()))
        t.eventually("it to be made", function() return server:running "CREATE DATABASE%" == 1 end)
        local first = server:sql("SELECT pid FROM pg_stat_activity WHERE " .. making .. " AND pid <> pg_backend_pid()", "postgres")
        host:kill("sigkill")
        host:wait()
        local again = t.start_host { "resume", "--env-file", variables, state = state }
        t.eventually("it to be made again", function()
            return server:sql(("SELECT count(*) FROM pg_stat_activity WHERE %s AND pid NOT IN (%s, pg_backend_pid())"):format(
                making, first), "postgres") == "1"
        end)
        server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'", "postgres")
        holder:wait()
        again:wait(60)
        assert.equal(0, again.code, again.out .. again.err)
        assert.equal("", play.scratches(server))
    end)
end)
