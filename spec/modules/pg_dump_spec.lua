local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local uv = require "luv"

describe("pg db:dump", function()
    local server, url

    setup(function()
        server = t.postgres { password = "wine-dark&ocean" } -- no other spec that runs meanwhile has this one
        url = server:url()
    end)

    before_each(function()
        play.fresh(server, play.SHOP)
    end)

    local function dump(options, as)
        return play.body(as or url, ("return db:dump { to = %q, %s }"):format(t.temp(), options or ""))
    end

    -- Makes a dump take a while: some tens of MiB.
    local function grow(where)
        (where or server):sql("SET ROLE app; CREATE TABLE zz_big AS SELECT i AS id, repeat(md5(i::text), 6) AS a"
            .. " FROM generate_series(1, 200000) i")
    end

    it("leaves a proven archive, its manifest and its copies, and nothing else", function()
        local folder, mirror = t.temp(), t.temp()
        local backup = play.value(url, ([[return db:dump { to = %q, also = { %q .. "/deep/er" } }]]):format(folder, mirror))
        assert.is_true(backup.verified)
        assert.equal("single", backup.shape)
        assert.equal(300 + 200 + 10 + 50 + 500 + 1, backup.rows)
        assert.matches("/app%-%d+%-%d+%.pgdump$", backup.path)
        assert.equal(uv.fs_stat(backup.path).size, backup.bytes)
        assert.equal(tonumber("100600", 8), uv.fs_stat(backup.path).mode)
        assert.same({ backup.path:match("[^/]+$"), backup.path:match("[^/]+$") .. ".manifest.json" }, t.list(folder))
        assert.equal(t.read(backup.path), t.read(backup.copies[1]))
        assert.equal("PGDMP", t.read(backup.path):sub(1, 5))
        assert.equal("", play.scratches(server))
    end)

    it("is the whole database for PostgreSQL's own client alone, too", function()
        local backup = assert(dump())
        server:sql("CREATE DATABASE by_hand OWNER app", "postgres")
        local programs = require("spec.world.postgres").programs()
        local result = t.run { programs .. "/pg_restore", "--exit-on-error", "--dbname=by_hand", "--host=" .. server.socket,
            "--port=" .. server.port, "--username=postgres", backup.path }
        assert.equal(0, result.code, result.err)
        assert.same(play.fingerprints(url), play.fingerprints(server:url("by_hand")))
    end)

    it("writes a folder by several sessions where that is chosen, and proves it", function()
        server:sql([[SET ROLE app; CREATE TABLE l1 AS SELECT i, repeat(md5(i::text), 50) AS a FROM generate_series(1, 60000) i;
            ALTER TABLE l1 ALTER a SET STORAGE EXTERNAL; CREATE TABLE l2 AS TABLE l1; CREATE TABLE l3 AS TABLE l1]])
        local backup = assert(dump("jobs = 3"))
        assert.equal("parallel", backup.shape, backup.why)
        assert.is_true(backup.verified)
        assert.equal("directory", uv.fs_stat(backup.path).type)
        assert.is_truthy(t.exists(backup.path .. "/toc.dat"))
        server:sql("DELETE FROM l2 WHERE i > 5")
        assert(play.body(url, ("return db:restore(%s, { loses = 1000000 })"):format(play.lua(backup))))
        assert.equal("60000", server:sql "SELECT count(*) FROM l2")
    end)

    it("clones where nobody else is connected, and says so where somebody is", function()
        local backup = assert(dump "maintenance = true")
        assert.equal("clone", backup.shape)
        assert.equal("clone", backup.verified)
        assert.equal("", play.scratches(server))
        local proven = assert(dump "maintenance = true, verify = 'archive'")
        assert.is_true(proven.verified)
        local visitor = t.start { "psql", "--no-psqlrc", server:url(), "--command", "SELECT pg_sleep(60)",
            env = { PGAPPNAME = "shop" } }
        t.eventually("it is connected", function()
            return server:sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'") == "1"
        end)
        local _, problem = dump "maintenance = true"
        visitor:kill()
        assert.equal("in_use", problem.code)
        assert.matches("shop", problem.message)
    end)

    it("holds one moment while the application writes", function()
        grow()
        local writer = t.start { "psql", "--no-psqlrc", "--quiet", server:url(), input = [[
            DO $$ BEGIN FOR i IN 1..1000000 LOOP
                INSERT INTO users (name) VALUES ('w' || i); DELETE FROM zz_big WHERE id = i;
                UPDATE nokey SET y = i::text; COMMIT; END LOOP; END $$;]] }
        t.eventually("it writes", function()
            return server:sql("SELECT count(*) > 400 FROM users") == "t"
        end)
        for _ = 1, 3 do
            local backup, problem = dump()
            assert.is_true(backup and backup.verified, problem and problem.message)
        end
        assert.is_nil(writer.code)
        writer:kill()
    end)

    it("shows the password in no argument, environment, file or output", function()
        grow()
        local folder = t.temp()
        local host, state = play.start(url, ("db:restore(db:dump { to = %q, keep_scratch = false })"):format(folder))
        local looks, found = 0, {}
        local function look(file)
            local handle = io.open(file, "rb")
            local text = handle and handle:read("a") or ""
            if handle then
                handle:close()
            end
            if text:find(server.password, 1, true) or text:find("wine-dark%26ocean", 1, true) then
                found[#found + 1] = file
            end
            return text
        end
        t.eventually("the host ends", function()
            for pid, kind in function(scan) return uv.fs_scandir_next(scan) end, uv.fs_scandir("/proc") do
                if kind == "directory" and pid:find("^%d+$") then
                    local name = look("/proc/" .. pid .. "/comm")
                    look("/proc/" .. pid .. "/cmdline")
                    if name:find("^pg_") or name:find("^psql") or name:find("^tail") then
                        looks = looks + 1
                        look("/proc/" .. pid .. "/environ")
                    end
                end
            end
            return host.code
        end, 60)
        host:wait()
        assert.equal(0, host.code, host.out .. host.err)
        assert.is_true(looks > 10)
        for _, place in ipairs { folder, state } do
            local search = t.run { "grep", "-rlaF", "-e", server.password, "-e", "wine-dark%26ocean", place }
            assert.equal("", search.out)
        end
        assert.is_nil((host.out .. host.err):find(server.password, 1, true))
        assert.same({}, found)
    end)

    it("takes a password with every special character", function()
        local password = [[ä'"\:@/?#%&=+;,|<>()[]{}^~$`! *-]] .. "\t"
        server:sql(("CREATE ROLE odd LOGIN CREATEDB PASSWORD '%s'; GRANT app TO odd"):format(password:gsub("'", "''")))
        local there = server:url():gsub("^postgresql://[^@]*", "postgresql://odd:" .. password:gsub("[^%w]", function(c)
            return ("%%%02X"):format(c:byte())
        end):gsub("%%", "%%%%"))
        local backup, problem = dump(nil, there)
        server:sql("DROP ROLE odd")
        assert.is_nil(problem and problem.message)
        assert.is_true(backup.verified)
    end)

    describe("of a database that is unlike others,", function()
        it("with a name that needs quoting everywhere", function()
            local name = [[Ä'p"p \$x%; ü]]
            play.fresh(server, play.SHOP, name)
            local there = server:url(name)
            local result = play.value(there, ([[
                local before, backup = db:fingerprints(), db:dump { to = %q }
                db:exec "DELETE FROM users WHERE id < 9"
                local restored = db:restore(backup, { loses = 100 })
                local after = db:fingerprints()
                return { before.tables.users.hash == after.tables.users.hash, backup.database, restored.from }
            ]]):format(t.temp()))
            assert.same({ true, name, "scratch" }, result)
        end)

        it("empty", function()
            play.fresh(server)
            local backup, problem = dump "empty = true"
            assert.is_nil(problem and problem.message)
            assert.is_true(backup.verified)
            assert.equal(0, backup.rows)
        end)

        for _, kind in ipairs { "SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP" } do
            it("encoded as " .. kind .. ", with bytes that are no UTF-8", function()
                server:sql(("DROP DATABASE app; CREATE DATABASE app OWNER app TEMPLATE template0 ENCODING '%s' LOCALE 'C'")
                    :format(kind), "postgres")
                server:sql(([[SET ROLE app; CREATE TABLE words (w text); INSERT INTO words VALUES (%s), ('plain');
                    CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT w FROM words LIMIT 1']])
                    :format(kind == "SQL_ASCII" and "E'\\344\\xff'" or kind == "EUC_JP" and "'日本'" or "'ä'"))
                local result, problem = play.body(url, ([[
                    local before, backup = db:fingerprints(), db:dump { to = %q }
                    db:exec "UPDATE words SET w = 'lost'"
                    db:restore(backup, { loses = 10 })
                    return { before, db:fingerprints(), backup.verified }
                ]]):format(t.temp()))
                assert.is_nil(problem and problem.message)
                assert.same(result[1], result[2])
                assert.is_true(result[3])
                assert.equal(kind .. "|C", server:sql("SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database"
                    .. " WHERE datname = 'app'", "postgres"))
            end)
        end

        it("with ICU's order of words", function()
            server:sql("DROP DATABASE app; CREATE DATABASE app OWNER app TEMPLATE template0 LOCALE_PROVIDER icu"
                .. " ICU_LOCALE 'de-u-co-phonebk'", "postgres")
            server:sql("SET ROLE app; " .. play.SHOP)
            local backup = assert(dump "keep_scratch = false")
            assert(play.body(url, ("return db:restore(%s)"):format(play.lua(backup))))
            assert.equal("i|de-u-co-phonebk", server:sql("SELECT datlocprovider, daticulocale FROM pg_database"
                .. " WHERE datname = 'app'", "postgres"))
        end)

        it("with 5,000 tables", function()
            server:sql([[SET ROLE app; DO $$ BEGIN FOR i IN 1..5000 LOOP
                EXECUTE format('CREATE TABLE t%s (id int)', i); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$]])
            local backup, problem = dump("keep_scratch = false")
            assert.is_nil(problem and problem.message)
            assert.is_true(backup.verified)
            assert.is_true(backup.tables > 5000)
        end)

        it("with one of everything", function()
            play.fresh(server)
            server:sql(t.read(t.root .. "/spec/world/everything.sql"))
            local there = server:url("app", "postgres")
            local result, problem = play.body(there, ([[
                local before, backup = db:fingerprints(), db:dump { to = %q, keep_scratch = false }
                db:exec "DROP TABLE twins CASCADE"
                db:restore(backup, { loses = 100 })
                return { before, db:fingerprints(), backup.verified }
            ]]):format(t.temp()))
            assert.is_nil(problem and problem.message)
            for name, entry in pairs(result[1].tables) do
                if entry.derived then -- a materialized view is worked out anew, also one that had become stale
                    result[1].tables[name], result[2].tables[name] = nil, nil
                end
            end
            assert.same(result[1], result[2])
            assert.is_true(result[3])
        end)
    end)
end)
