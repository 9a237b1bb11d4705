local t = require "spec.helper"
local play = require "spec.modules.pg_backup_play"

local lua = play.lua

describe("pg db:restore", function()
    local server, url

    setup(function()
        server = t.postgres { settings = { max_prepared_transactions = 5, wal_level = "logical" } }
        url = server:url()
    end)

    before_each(function()
        play.fresh(server, play.SHOP)
    end)

    local function body(text, as)
        return play.body(as or url, text)
    end

    -- A backup in a folder of its own, and the fingerprints that it has.
    local function back_up(options)
        local kept = play.value(url, ([[return { before = db:fingerprints(), backup = db:dump { to = %q, %s } }]])
            :format(t.temp(), options or ""))
        return kept.backup, kept.before
    end

    local function ruin()
        server:sql("SET ROLE app;\n" .. play.RUIN)
    end

    local function restore(backup, options)
        return body(("return db:restore(%s, %s)"):format(lua(backup), options or "{ loses = 100000 }"))
    end

    local function fingerprints()
        return play.fingerprints(url)
    end

    local function whole()
        -- keys that hold, triggers that fire, views upon views upon functions
        assert.has_error(function() server:sql [[INSERT INTO "Or d'e""rs ü" (user_id, total) VALUES (99999, 1)]] end)
        server:sql [[INSERT INTO "Or d'e""rs ü" (user_id, total) VALUES (1, 77)]]
        assert.equal("o77.00", server:sql "SELECT what FROM audit")
        assert.equal("600", server:sql "SELECT max(x) FROM above")
        assert.equal("301", server:sql "INSERT INTO users (name) VALUES ('next') RETURNING id")
    end

    for _, mode in ipairs { "swap", "in_place" } do
        it("brings everything back, and takes away what was added: " .. mode, function()
            local backup, before = back_up()
            ruin()
            assert.not_same(before, fingerprints())
            local result, problem = restore(backup, ("{ mode = %q, loses = 100000 }"):format(mode))
            assert.is_nil(problem and problem.message)
            assert.equal("archive", result.from or "archive")
            assert.same(before, fingerprints())
            assert.equal("", play.scratches(server))
            whole()
        end)
    end

    it("swaps the scratch that the dump has left, without loading anything", function()
        local result = play.value(url, ([[
            local before, backup = db:fingerprints(), db:dump { to = %q }
            db:exec "DELETE FROM users"
            local restored = db:restore(backup, { loses = 1000 })
            return { before, db:fingerprints(), restored, backup }
        ]]):format(t.temp()))
        assert.same(result[1], result[2])
        assert.equal("scratch", result[3].from)
        assert.is_true(result[4].scratch_bytes > 1000000)
        assert.is_true(result[3].restored_ms > 0) -- how few they are, spec/bench measures
        assert.equal(result[3].kept, play.kept(server))
        assert.equal("", play.scratches(server))
        whole()
    end)

    it("brings back the very moment of the dump, with a writer at work during dump, ruin and swap", function()
        local writer = t.start { "psql", "--no-psqlrc", "--quiet", server:url(), input = [[
            DO $$ BEGIN FOR i IN 1..1000000 LOOP
                INSERT INTO nokey VALUES (i, 'w'); UPDATE audit SET what = i::text; DELETE FROM nokey WHERE x = i - 20;
                INSERT INTO audit (what) SELECT 'a' WHERE i < 50; COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$;]] }
        t.eventually("it writes", function()
            return server:sql("SELECT count(*) > 20 FROM audit") == "t"
        end)
        local ruin_file = t.write(t.temp() .. "/ruin.sql", "SET ROLE app;\n" .. play.RUIN)
        local result, problem = body(([[
            local backup = db:dump { to = %q }
            require("rollout.sh").run { "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", %q, "--file=%s" }
            return { backup, db:restore(backup, { loses = 10000000 }) }
        ]]):format(t.temp(), ("postgresql://postgres@/app?host=%s&port=%d"):format(server.socket, server.port), ruin_file))
        writer:wait()
        assert.is_nil(problem and problem.message)
        assert.equal("scratch", result[2].from)
        assert.same({}, result[2].written_after)
        local moment = require("dkjson").decode(t.read(result[1].manifest))
        local after = fingerprints()
        moment.tables.summed, after.tables.summed = nil, nil -- worked out anew
        assert.same(moment.tables, after.tables)
        assert.same(moment.objects, after.objects)
    end)

    it("keeps the database that it takes out, to be looked at", function()
        local backup = back_up()
        ruin()
        local kept = restore(backup).kept
        assert.matches("^app_broken_%d+_%d+$", kept)
        assert.equal("new", server:sql("SELECT name FROM users ORDER BY id DESC LIMIT 1", kept))
        assert.equal("1", server:sql("SELECT count(*) FROM newcomer", kept))
    end)

    it("restores into a database of its own", function()
        local backup, before = back_up()
        ruin()
        local ruined = fingerprints()
        assert.equal("app_copy", restore(backup, "{ into = 'app_copy' }").database)
        assert.same(before, play.fingerprints(server:url("app_copy")))
        assert.same(ruined, fingerprints())
        local _, problem = restore(backup, "{ into = 'app_copy' }")
        assert.equal("exists", problem.code)
    end)

    it("brings back what the database itself was: owner, grants, settings, comment, limit", function()
        server:sql([[CREATE ROLE reporter; CREATE ROLE "Odd role";
            REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE app TO reporter;
            GRANT CREATE ON DATABASE app TO "Odd role" WITH GRANT OPTION;
            ALTER DATABASE app SET search_path = "$user", public, "Bill ing"; ALTER DATABASE app SET work_mem = '7MB';
            ALTER ROLE app IN DATABASE app SET statement_timeout = '77s';
            ALTER DATABASE app SET default_transaction_read_only = off;
            COMMENT ON DATABASE app IS 'the shop''s \ own'; ALTER DATABASE app CONNECTION LIMIT 17]], "postgres")
        local facts = [[SELECT to_jsonb(d) - 'oid' - 'datfrozenxid' - 'datminmxid' - 'datacl', d.datacl::text,
            shobj_description(d.oid, 'pg_database'),
            (SELECT string_agg(setrole::text || setconfig::text, ' ' ORDER BY setrole) FROM pg_db_role_setting
                WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = 'app']]
        local was = server:sql(facts, "postgres")
        local result = play.value(url, ([[
            local backup = db:dump { to = %q }
            db:exec "ALTER DATABASE app SET work_mem = '1MB'"
            db:exec "DELETE FROM users"
            return db:restore(backup, { loses = 1000 })
        ]]):format(t.temp()))
        assert.equal("scratch", result.from)
        assert.equal(was, server:sql(facts, "postgres"))
        server:sql("DROP OWNED BY reporter, \"Odd role\"", result.kept)
        server:sql("DROP OWNED BY reporter, \"Odd role\"; DROP ROLE reporter, \"Odd role\"")
    end)

    it("takes a copy where the first archive is damaged", function()
        local backup = play.value(url, ([[return db:dump { to = %q, also = { %q } }]]):format(t.temp(), t.temp()))
        os.remove(backup.path)
        assert.equal(backup.copies[1], restore(backup).file)
    end)

    describe("counts what it would lose,", function()
        local function lost(sql)
            local backup = back_up()
            server:sql("SET ROLE app;\n" .. sql)
            return play.body(url, ("return db:restore(%s, { loses = 0, since = nil })"):format(lua(backup)),
                { timeout = 20, options = {} })
        end

        -- A question has nobody to answer it here: the run waits, and says what it asks.
        local function asked(sql)
            local backup = back_up()
            server:sql("SET ROLE app;\n" .. sql)
            local host = play.start(url, ("db:restore(%s)"):format(lua(backup)))
            host:wait_for("at least", 20)
            host:kill("sigkill")
            host:wait()
            return host.out
        end

        it("rows inserted, changed and deleted, table by table", function()
            local said = asked [[INSERT INTO nokey VALUES (1, 'a'), (2, 'b'); UPDATE users SET name = 'z' WHERE id < 4;
                DELETE FROM parted_1 WHERE k < 5]]
            assert.matches("at least 10 rows in nokey %(2%), parted_1 %(5%), users %(3%)", said)
        end)

        it("a table that was emptied by TRUNCATE", function()
            assert.matches("parted_2 %(400%)", asked "TRUNCATE parted_2")
        end)

        it("after the statistics were reset, by the fingerprints", function()
            assert.matches("at least 7 rows", asked "INSERT INTO nokey SELECT 1, 'n' FROM generate_series(1, 7);"
                .. " RESET ROLE; SELECT pg_stat_reset() \\g /dev/null")
        end)

        it("also where the statistics are reset and clients write until they are sent away", function()
            local backup, before = back_up()
            server:sql("SELECT pg_stat_reset() \\g /dev/null")
            local writer = t.start { "psql", "--no-psqlrc", "--quiet", server:url(), input = [[
                DO $$ BEGIN LOOP INSERT INTO nokey VALUES (9, 'late'); COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$;]] }
            t.eventually("it writes", function()
                return server:sql("SELECT count(*) > 20 FROM nokey") == "t"
            end)
            local result, problem = restore(backup)
            writer:wait()
            assert.is_nil(problem and problem.message)
            assert.equal(before.tables.nokey.hash, fingerprints().tables.nokey.hash)
            local kept = tonumber(server:sql("SELECT count(*) FROM nokey", result.kept))
            assert.is_true(result.lost.nokey >= kept - 10, result.lost.nokey .. " of " .. kept - 10)
        end)

        it("nothing where nothing was written", function()
            local result, problem = lost "SELECT count(*) FROM users \\g /dev/null"
            assert.is_nil(problem and problem.message)
            assert.equal(0, result.lost_rows)
        end)

        it("anew when the sessions have ended, and undoes the swap where it is more", function()
            local backup, before = back_up()
            -- Written, and not all of it counted: a session tells the server at once, and then after ten seconds or at its end.
            local writer = t.start { "psql", "--no-psqlrc", "--quiet", server:url(), input = true }
            writer:write("INSERT INTO nokey VALUES (5, 'now');\nINSERT INTO nokey VALUES (6, 'now');\n")
            t.eventually("it has written", function()
                return server:sql("SELECT count(*) FROM nokey") == "12"
            end)
            local host = play.start(url, ("db:restore(%s, { loses = 1 })"):format(lua(backup)))
            host:wait_for("at least 2 rows", 20)
            assert.matches("called off", server:log())
            host:kill("sigkill")
            host:wait()
            assert.equal("12", server:sql("SELECT count(*) FROM nokey"))
            assert.equal(before.tables.users.hash, fingerprints().tables.users.hash)
            assert.equal("", play.kept(server))
        end)
    end)

    describe("refuses, before anything is touched,", function()
        local function refused(code, backup, options, as)
            local before = fingerprints()
            local value, problem = body(("return db:restore(%s, %s)"):format(lua(backup), options or "{ loses = 1000 }"), as)
            assert.is_nil(value)
            assert.equal(code, problem.code, problem.message)
            assert.same(before, fingerprints())
            assert.equal("", play.scratches(server))
            assert.equal("", play.kept(server))
            return problem.message
        end

        local function damage(path, how)
            t.write(path, how(t.read(path)))
        end

        it("an archive with one bit flipped, cut off, swapped with another, or gone", function()
            local backup = back_up()
            server:sql("INSERT INTO nokey VALUES (2, 'z')")
            local other = back_up()
            local bytes = t.read(backup.path)
            damage(backup.path, function(text)
                local at = #text // 2
                return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1) .. text:sub(at + 1)
            end)
            assert.matches("its checksum differs", refused("backup_damaged", backup))
            damage(backup.path, function() return bytes:sub(1, -100) end)
            assert.matches("its checksum differs", refused("backup_damaged", backup))
            damage(backup.path, function() return t.read(other.path) end)
            assert.matches("its checksum differs", refused("backup_damaged", backup))
            os.remove(backup.path)
            assert.matches("is not there", refused("backup_damaged", backup))
        end)

        it("on a server that lacks a role, an extension or a tablespace, all in one message", function()
            local place = require("spec.world.postgres").give(t.temp())
            local as = server:url("app", "postgres")
            server:sql('CREATE ROLE "Old owner"', "postgres")
            server:sql(([[CREATE TABLESPACE "Fast disk" LOCATION '%s']]):format(place), "postgres")
            server:sql([[CREATE TABLE owned (a int); ALTER TABLE owned OWNER TO "Old owner";
                CREATE TABLE elsewhere (a int) TABLESPACE "Fast disk"]])
            local backup = play.value(as, ("return db:dump { to = %q }"):format(t.temp()))
            server:sql([[DROP TABLE owned, elsewhere; DROP TABLESPACE "Fast disk"; DROP ROLE "Old owner"]])
            assert.matches("lacks role Old owner, tablespace Fast disk", refused("missing", backup, nil, as))
        end)

        it("while a prepared transaction or a replication slot belongs to the database", function()
            local backup = back_up()
            server:sql("BEGIN; INSERT INTO nokey VALUES (7, 'p'); PREPARE TRANSACTION 'half done'")
            assert.matches("half done.+ROLLBACK PREPARED", refused("prepared_transaction", backup))
            server:sql("ROLLBACK PREPARED 'half done'")
            server:sql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput') \\g /dev/null")
            assert.matches("feed.+drop the slot", refused("replication", backup))
            assert.matches("could not swap it in: .+ feed ", back_up().notes[1]) -- as a dump says beforehand
            server:sql("SELECT pg_drop_replication_slot('feed') \\g /dev/null")
        end)

        it("a role that may not rename, and says which mode fits", function()
            local backup = back_up()
            server:sql("ALTER ROLE app NOCREATEDB", "postgres")
            local said = refused("cannot_rename", backup)
            server:sql("ALTER ROLE app CREATEDB", "postgres")
            assert.matches("in_place", said)
        end)

        it("in_place while the application is connected", function()
            local backup = back_up()
            local visitor = t.start { "psql", "--no-psqlrc", server:url(), "--command", "SELECT pg_sleep(60)",
                env = { PGAPPNAME = "shop" } }
            t.eventually("it is connected", function()
                return server:sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'") == "1"
            end)
            local said = refused("in_use", backup, "{ mode = 'in_place', loses = 1000 }")
            visitor:kill()
            assert.matches("shop", said)
        end)

        it("while a superuser is connected, whom the role may not send away", function()
            local backup = back_up()
            local visitor = t.start { "psql", "--no-psqlrc", server:url("app", "postgres"), "--command", "SELECT pg_sleep(60)",
                env = { PGAPPNAME = "watchful" } }
            t.eventually("it is connected", function()
                return server:sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'watchful'") == "1"
            end)
            local said = refused("in_use", backup)
            assert.is_nil(visitor.code)
            visitor:kill()
            assert.matches("%d+ %(postgres%)", said)
        end)

        it("what is no backup", function()
            assert.matches("it has no path", refused("usage", {}))
        end)
    end)

    it("in place, is all or nothing: what cannot be restored leaves everything as it was", function()
        server:sql("CREATE ROLE helper; GRANT helper TO app", "postgres")
        server:sql("SET ROLE app; CREATE SCHEMA zz AUTHORIZATION helper; SET ROLE helper; CREATE TABLE zz.last (a int)")
        local as = server:url("app", "postgres")
        local backup = play.value(as, ("return db:dump { to = %q }"):format(t.temp()))
        server:sql("DROP SCHEMA zz CASCADE; DROP OWNED BY helper; DROP ROLE helper")
        local before = fingerprints()
        t.write(backup.manifest, (t.read(backup.manifest):gsub('"helper"', '"app"'))) -- so that only the load finds out
        backup.manifest_sha256 = nil
        local _, problem = body(("return db:restore(%s, { mode = 'in_place', loses = 1000 })"):format(lua(backup)), as)
        assert.equal("load", problem.code)
        assert.matches("helper", problem.message)
        assert.same(before, fingerprints())
    end)

    describe("takes a user's own dump:", function()
        local programs = require("spec.world.postgres").programs()

        local function pg_dump(...)
            local path = t.temp() .. "/dump"
            local result = t.run { programs .. "/pg_dump", "--host=" .. server.socket, "--port=" .. server.port,
                "--username=postgres", "--file=" .. path, ... }
            assert.equal(0, result.code, result.err)
            return path
        end

        for name, how in pairs { plain = { "app" }, create = { "--create", "app" }, custom = { "--format=custom", "app" },
            folder = { "--format=directory", "app" }, tar = { "--format=tar", "app" }, inserts = { "--inserts", "app" } } do
            it(name, function()
                local before, path = fingerprints(), pg_dump(table.unpack(how))
                ruin()
                local result, problem = body(("return db:restore(%q, { loses = 100000 })"):format(path))
                assert.is_nil(problem and problem.message)
                assert.same(before, fingerprints())
                assert.equal(result.kept, play.kept(server))
                whole()
            end)
        end

        it("compressed by gzip", function()
            local before, path = fingerprints(), pg_dump("app")
            assert.equal(0, t.run({ "gzip", path }).code)
            ruin()
            assert(body(("return db:restore(%q, { loses = 100000 })"):format(path .. ".gz")))
            assert.same(before, fingerprints())
        end)

        it("made with --create, without touching what it names", function()
            server:sql("CREATE DATABASE other OWNER app", "postgres")
            server:sql("SET ROLE app; CREATE TABLE precious AS SELECT 1 AS a", "other")
            local path = pg_dump("--create", "other")
            server:sql("INSERT INTO precious VALUES (2)", "other")
            assert(body(("return db:restore(%q, { loses = 100000 })"):format(path)))
            assert.equal("2", server:sql("SELECT count(*) FROM precious", "other"))
            assert.equal("1", server:sql("SELECT count(*) FROM precious"))
        end)

        it("none that breaks off, or has an error in it", function()
            local path = pg_dump("app")
            local text, before = t.read(path), fingerprints()
            for _, damaged in ipairs { text:sub(1, #text // 2), text:gsub("COPY public.users", "COPY public.nobody", 1),
                text:gsub("\n%-%- PostgreSQL database dump complete\n", "\n") } do
                t.write(path, damaged)
                local value = body(("return db:restore(%q, { loses = 100000 })"):format(path))
                assert.is_nil(value)
                assert.same(before, fingerprints())
                assert.equal("", play.scratches(server))
            end
        end)

        it("none of a whole cluster", function()
            local path = t.temp() .. "/all.sql"
            local result = t.run { programs .. "/pg_dumpall", "--host=" .. server.socket, "--port=" .. server.port,
                "--username=postgres", "--file=" .. path }
            assert.equal(0, result.code, result.err)
            local _, problem = body(("return db:restore(%q)"):format(path))
            assert.matches("pg_dumpall", problem.message)
        end)
    end)
end)
