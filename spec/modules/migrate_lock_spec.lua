-- A migration that waits for a lock: it gives up in time, and leaves no session behind that others wait for.
local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local alembic = require "spec.world.alembic"
local postgres = require "spec.world.postgres"
local proxy = require "spec.world.proxy"

local WORLDS = {
    mysql = {
        start = t.mariadb,
        -- A client that has read the table in a transaction that it leaves open.
        hold = function(server)
            local client = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "--unbuffered",
                "--skip-column-names", "app", input = true }
            client:write "START TRANSACTION; SELECT concat('held by ', count(*)) FROM clients;\n"
            client:wait_for "held by"
            return client
        end,
        others = [[SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'ALTER%']],
    },
    postgresql = {
        start = t.postgres,
        hold = function(server)
            local client = t.start { postgres.programs() .. "/psql", "--no-psqlrc", "--no-align", "--tuples-only",
                "--host=" .. server.socket, "--port=" .. server.port, "--username=postgres", "--dbname=app", input = true }
            client:write "BEGIN; SELECT 'held by ' || count(*) FROM clients;\n"
            client:wait_for "held by"
            return client
        end,
        others = [[SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER%' AND state = 'active']],
    },
}

for name, world in pairs(WORLDS) do
    describe("migrate behind a lock on " .. name, function()
        local server, folder

        setup(function()
            server = world.start()
        end)

        before_each(function()
            play.fresh(server)
            folder = alembic.project(t.temp())
            alembic.revision(folder, "aa01", nil, [[op.execute("ALTER TABLE clients ADD COLUMN plan TEXT")]])
        end)

        local function migrate(more, variables, url)
            return ([[return migrate("migrate", { tool = "alembic", db = db, backup = backup, command = { %q },
                env = { %s DATABASE_URL = %s }, %s })]]):format(alembic.python, variables or "",
                url and ("%q"):format(url) or "cfg.DATABASE_URL", more)
        end

        it("is begun again when the server has given it up, and not before", function()
            local run = play.start(server:url(), [[
                step("wait", function() sh.run "touch backed-up; until test -e held; do sleep 0.02; done" end)
                ]] .. migrate('lock_timeout = "10m"', 'PGOPTIONS = "-c client_connection_check_interval=0",'), { folder = folder })
            t.eventually("the backup is made", function() return t.exists(folder .. "/backed-up") end, 30)
            local holder = world.hold(server)
            t.write(folder .. "/held", "")
            t.eventually("the migration waits", function() return server:sql(world.others, "app") ~= "0" end, 30)
            play.kill_all(run)
            if name == "mysql" then -- looks by itself whether its client lives
                t.eventually("the server has given it up", function() return server:sql(world.others, "app") == "0" end, 20)
            else
                local again = play.resume(run)
                assert.equal(7, again.code, again.said)
                assert.matches("the server is still at work on ALTER TABLE clients", again.out)
            end
            holder:write "COMMIT;\n"
            holder:close_input()
            holder:wait()
            t.eventually("the server is done", function() return server:sql(world.others, "app") == "0" end, 10)
            local again = play.resume(run)
            assert.equal(0, again.code, again.said)
            assert.same({ "aa01" }, again.result.applied)
        end)

        it("is ended when its time is up, on the server too", function()
            local holder
            local between = proxy.start(server.port)
            between.keeps = true -- else MariaDB may have ended it first
            local url = server:url():gsub(":%d+/", ":" .. between.port .. "/")
            local run = play.start(server:url(), [[
                step("wait", function() sh.run "touch backed-up; until test -e held; do sleep 0.02; done" end)
                ]] .. migrate('timeout = "8s", lock_timeout = "10m"', nil, url), { folder = folder })
            t.eventually("the backup is made", function() return t.exists(folder .. "/backed-up") end, 30)
            holder = world.hold(server)
            t.write(folder .. "/held", "")
            t.eventually("the migration waits", function() return server:sql(world.others, "app") ~= "0" end, 30)
            run.host:wait(60)
            local ended = play.read(t.digest_events(run.host))
            assert.matches("still running after 8s and was ended", ended.problem.message)
            assert.matches("ended on the server, since it was still at work: ALTER TABLE clients", ended.problem.message)
            assert.matches("not applied: aa01", ended.problem.message)
            t.eventually("nobody is in the way", function() return server:sql(world.others, "app") == "0" end, 10)
            holder:write "COMMIT;\n"
            holder:close_input()
            holder:wait()
            assert.equal("id,name", play.columns(server, "clients"))
        end)
    end)
end

describe("migrate behind a lock", function()
    it("gives the lock up before its time is up where the tool listens to libpq's variables", function()
        local server = t.postgres()
        play.fresh(server)
        local folder = alembic.project(t.temp())
        alembic.revision(folder, "aa01", nil, [[op.execute("ALTER TABLE clients ADD COLUMN plan TEXT")]])
        local run = play.start(server:url(), ([[
            step("wait", function() sh.run "touch backed-up; until test -e held; do sleep 0.02; done" end)
            return migrate("migrate", { tool = "alembic", db = db, backup = backup, command = { %q },
                env = { DATABASE_URL = cfg.DATABASE_URL }, lock_timeout = "200ms" })]]):format(alembic.python),
            { folder = folder })
        t.eventually("the backup is made", function() return t.exists(folder .. "/backed-up") end, 30)
        local holder = WORLDS.postgresql.hold(server)
        t.write(folder .. "/held", "")
        run.host:wait(60)
        local ended = play.read(t.digest_events(run.host))
        assert.matches("canceling statement due to lock timeout", ended.problem.message)
        holder:close_input()
        holder:wait()
    end)
end)
