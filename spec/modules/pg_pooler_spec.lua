-- Behind a pooler that gives each transaction another server session.
local t = require "spec.helper"
local bouncer = require "spec.world.pgbouncer"
local play = require "spec.modules.pg_play"

describe("pg behind a pooler in transaction mode", function()
    local server, pooler

    setup(function()
        server = t.postgres()
        server:sql [[CREATE TABLE things (id int PRIMARY KEY, t text); ALTER TABLE things OWNER TO app;
            INSERT INTO things SELECT n, 'thing' FROM generate_series(1, 10) n;
            CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS 'DELETE FROM things; SELECT 1';
            CREATE TYPE kind AS ENUM ('a', 'b')]]
        pooler = bouncer.start(server)
    end)

    -- Two others take turns in a transaction each, so that the sessions change hands.
    local function with_others(fn)
        local others = {}
        for i = 1, 2 do
            others[i] = t.start { "bash", "-c", "while psql -Xqc 'BEGIN' -c 'SELECT pg_sleep(0.01)' -c 'COMMIT' "
                .. "'" .. pooler:url() .. "' >/dev/null; do :; done" }
        end
        local result = table.pack(pcall(fn))
        for _, other in ipairs(others) do
            other:kill()
            other:wait()
        end
        assert(result[1], result[2])
        return table.unpack(result, 2, result.n)
    end

    it("reads and writes, with parameters of every kind", function()
        with_others(function()
            assert.same({ 500, "thing", { "a", "b" }, 100, true }, play.value(pooler:url(), [[
                local n = 0
                for i = 1, 50 do n = n + db:value("SELECT count(*) FROM things WHERE t = $1 AND id < $2", "thing", 99) end
                for i = 1, 50 do
                    db:exec("UPDATE things SET t = $1 WHERE id = ANY($2)", "ü\\thing", { 1, 2 })
                    db:exec("UPDATE things SET t = 'thing' WHERE t <> 'thing'")
                end
                return { n, db:one("SELECT t FROM things WHERE id = $1", 1).t, db:value("SELECT $1::kind[]", { "a", "b" }),
                    db:exec("INSERT INTO things SELECT n, 'x' FROM generate_series(101, 200) n").affected,
                    db:value("SELECT $1::bytea", "\0\255") == "\0\255" }]]))
            server:sql "DELETE FROM things WHERE id > 100"
        end)
    end)

    it("cannot write in a read", function()
        local _, problem = play.body(pooler:url(), [[db:query "SELECT sly()"]])
        assert.equal("read_only", problem.code, problem.message)
        assert.equal("10", server:sql "SELECT count(*) FROM things")
    end)

    it("leaves no session that cannot write, none in a transaction, and none with a statement", function()
        assert.equal(1, play.value(pooler:url(), [[
            local quick = pg.database(cfg.DATABASE_URL, { timeout = "300ms" })
            for _ = 1, 3 do
                try(db.query, db, "SELECT nonsense")
                try(db.query, db, "SELECT sly()")
                assert(try(quick.query, quick, "SELECT pg_sleep(60)").code == "timeout")
            end
            return db:exec("UPDATE things SET t = t WHERE id = 1").affected]]))
        t.eventually("no session is in a transaction", function()
            return server:sql "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'" == "0"
        end)
    end)

    it("has transactions", function()
        assert.same({ 10, "duplicate", 10 }, with_others(function()
            return play.value(pooler:url(), [[
                local n = db:transaction(function(tx)
                    tx:exec("INSERT INTO things VALUES (11, 'x')")
                    tx:exec("DELETE FROM things WHERE id = $1", 11)
                    return tx:value "SELECT count(*) FROM things"
                end)
                local err = try(db.transaction, db, function(tx)
                    tx:exec "DELETE FROM things"
                    tx:exec "INSERT INTO things VALUES (1, 'x'), (1, 'y')"
                end)
                return { n, err.code, db:value "SELECT count(*) FROM things" }]])
        end))
    end)

    it("takes Prisma's URL", function()
        assert.equal(10, play.value(pooler:url() .. "?schema=public&pgbouncer=true&connection_limit=1",
            [[return db:value "SELECT count(*) FROM things"]]))
    end)

    it("says what to do about schema=, where it would be refused or forgotten", function()
        local _, problem = play.body(pooler:url() .. "?schema=other", [[return db:value "SELECT 1"]])
        assert.equal("connect", problem.code)
        assert.matches("pgbouncer=true", problem.message)
        local deaf = bouncer.start(server, { settings = { ignore_startup_parameters = "options" } })
        _, problem = play.body(deaf:url() .. "?schema=other", [[return db:value "SELECT 1"]])
        assert.equal("connect", problem.code)
        assert.matches("search_path.*ALTER ROLE app", problem.message)
    end)

    it("that dies is a lost connection for a write, and is asked again for a read", function()
        local mine = bouncer.start(server)
        local run = t.start_host { t.playbook(([[
            local pg, sh = require "rollout.pg", require "rollout.sh"
            playbook "spec" { environments = { "test" } }
            local db = pg.database(secret "DATABASE_URL")
            step("it", function()
                db:value "SELECT 1"
                db:exec "SELECT pg_sleep(60)"
            end)]]), "spec"), "--state", t.temp(), env = { DATABASE_URL = mine:url() } }
        t.eventually("the statement runs", function() return server:running "%sleep(60)%" == 1 end)
        mine:kill()
        run:wait(30)
        assert.matches("connection was lost", run.err .. run.out)
    end)
end)
