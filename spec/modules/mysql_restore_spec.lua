local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("db:restore", function()
    local server

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        local names = server:sql([[SELECT schema_name FROM information_schema.schemata
            WHERE schema_name LIKE 'app%' OR schema_name LIKE 'rh\_%']])
        for name in names:gmatch "[^\n]+" do
            server:sql("SET foreign_key_checks = 0; DROP DATABASE `" .. name:gsub("`", "``") .. "`")
        end
        server:sql("CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
    end)

    local function body(text, options)
        return play.body(server:url(), text, options)
    end

    -- A backup in a folder of its own, and the fingerprints that it has, as Lua text.
    local function back_up()
        local kept = assert(body(([[return { backup = db:dump { to = %q }, before = db:fingerprints() }]]):format(t.temp())))
        return kept.backup, kept.before
    end

    local function lua(value)
        if type(value) ~= "table" then
            return type(value) == "string" and ("%q"):format(value) or tostring(value)
        end
        local parts = {}
        for key, field in pairs(value) do
            parts[#parts + 1] = "[" .. lua(key) .. "]=" .. lua(field)
        end
        return "{" .. table.concat(parts, ",") .. "}"
    end

    local function fingerprints()
        return assert(body "return db:fingerprints()")
    end

    local function scratches()
        return server:sql([[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end

    for _, mode in ipairs { "swap", "in_place" } do
        it("brings everything back, and takes away what was added: " .. mode, function()
            local backup, before = back_up()
            server:sql(play.RUIN, "app")
            assert.not_same(before, fingerprints())
            local result = assert(body(("return db:restore(%s, { mode = %q, loses = 1000 })"):format(lua(backup), mode)))
            assert.same(before, fingerprints())
            assert.equal(18, result.lost.users) -- at least: 19 went, 1 came, 1 is another
            assert.equal("0", scratches())
            -- keys that hold, triggers that fire, a view upon a view upon a function
            assert.has_error(function()
                server:sql("INSERT INTO `o r'd\"e.r``s ü` (user_id, total) VALUES (99999, 1)", "app")
            end)
            server:sql("INSERT INTO `o r'd\"e.r``s ü` (user_id, total) VALUES (1, 77)", "app")
            assert.equal("o77.00", server:sql("SELECT what FROM audit", "app"))
            assert.equal("600", server:sql("SELECT MAX(x) FROM above", "app"))
        end)
    end

    it("keeps the tables that it takes out", function()
        local backup = back_up()
        server:sql(play.RUIN, "app")
        local kept = body(("return db:restore(%s, { loses = 1000 })"):format(lua(backup))).kept
        assert.matches("^app_broken_%d+_%d+$", kept)
        assert.equal("new", server:sql("SELECT name FROM users ORDER BY id DESC LIMIT 1", kept))
        assert.equal("newcomer", server:sql("SHOW TABLES LIKE 'newc%'", kept))
    end)

    it("restores into a schema of its own", function()
        local backup = back_up()
        server:sql(play.RUIN, "app")
        local ruined = fingerprints()
        assert.equal("app_copy", body(("return db:restore(%s, { into = 'app_copy' })"):format(lua(backup))).database)
        assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app_copy"))
        assert.same(ruined, fingerprints())
        local _, problem = body(("return db:restore(%s, { into = 'app_copy' })"):format(lua(backup)))
        assert.equal("exists", problem.code)
    end)

    it("goes on where it was killed on the way into a schema of its own", function()
        local backup, before = back_up()
        local path = t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local db = require("rollout.mysql").database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
            step("it", function() return db:restore(%s, { into = "app_copy" }) end)
        ]]):format(lua(backup)))
        local environment = { DATABASE_URL = server:url() }
        local tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE '%s'"
        for moment, query in pairs { loading = tables:format [[rh\_restore%]], named = tables:format "app_copy" } do
            server:sql "DROP DATABASE IF EXISTS app_copy"
            local state = t.temp()
            local host = t.start_host { path, state = state, env = environment }
            t.eventually(moment, function() return host.code or server:sql(query) ~= "0" end, 30)
            host:kill("sigkill")
            host:wait()
            local result = t.host { "resume", state = state, env = environment, timeout = 60 }
            assert.equal(0, result.code, moment .. ": " .. result.out .. result.err)
            local copied = assert(play.body(server:url "app_copy", "return db:fingerprints()"))
            assert.same(before.tables, copied.tables, moment)
            assert.equal(before.objects["trigger ordered"], copied.objects["trigger ordered"])
            assert.equal("0", scratches(), moment)
        end
        local _, problem = body(("return db:restore(%s, { into = 'app_copy' })"):format(lua(backup)))
        assert.equal("exists", problem.code)
    end)

    it("works under names that need quoting", function()
        -- No quotes in a schema's name: mariadb-dump --events cannot find it then.
        server:sql("CREATE DATABASE `app b;d``e ü-1`")
        local name = "app b;d`e ü-1"
        server:sql(play.SHOP, name)
        local url = server:url(name:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
        local value, problem = play.body(url, ([[
            local before, backup = db:fingerprints(), db:dump { to = %q }
            db:exec "DELETE FROM users WHERE id < 9"
            db:restore(backup, { loses = 24 })
            local after = db:fingerprints()
            return { before.tables.users.hash == after.tables.users.hash, backup.database }
        ]]):format(t.temp()))
        assert.is_nil(problem and problem.message)
        assert.same({ true, name }, value)
    end)

    describe("refuses, before anything is touched,", function()
        local function refused(code, backup, options)
            local before = fingerprints()
            local value, problem = body(("return db:restore(%s, %s)"):format(lua(backup), options or "nil"))
            assert.is_nil(value)
            assert.equal(code, problem.code, problem.message)
            assert.same(before, fingerprints())
            assert.equal("0", scratches())
            return problem.message
        end

        local function damage(path, how)
            t.write(path, how(t.read(path)))
        end

        it("a file with one bit flipped, and one that was cut off", function()
            local backup = back_up()
            local whole = t.read(backup.path)
            damage(backup.path, function(text)
                local at = #text // 2
                return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1) .. text:sub(at + 1)
            end)
            assert.matches("its checksum differs", refused("backup_damaged", backup))
            damage(backup.path, function() return whole:sub(1, -100) end)
            assert.matches("its checksum differs", refused("backup_damaged", backup))
            os.remove(backup.path)
            assert.matches("is not there", refused("backup_damaged", backup))
        end)

        it("a manifest that was edited", function()
            local backup = back_up()
            damage(backup.manifest, function(text) return (text:gsub('"rows":300', '"rows":301')) end)
            assert.matches("manifest.json is not the file that was written", refused("backup_damaged", backup))
        end)

        it("to lose rows that were written since, unless it is told how many", function()
            local backup = back_up()
            server:sql("DELETE FROM users WHERE id = 7", "app")
            local migrated = fingerprints()
            server:sql("INSERT INTO nokey VALUES (1, 'a'), (2, 'b'); UPDATE users SET name = 'z' WHERE id = 1", "app")
            local since = "{ since = " .. lua(migrated) .. ", loses = %d }"
            assert.matches("at least 3 rows were written since.+nokey %(2%), users %(1%)",
                refused("would_lose_rows", backup, since:format(2)))
            assert.is_truthy(body(("return db:restore(%s, %s)"):format(lua(backup), since:format(3))))
        end)

        it("while a session holds a table", function()
            local backup = back_up()
            local holder = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app", "-e",
                "START TRANSACTION; SELECT COUNT(*) FROM users; SELECT SLEEP(100)" }
            t.eventually("it holds", function()
                return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'") == "1"
            end)
            assert.matches("SHOW PROCESSLIST", refused("lock_timeout", backup, "{ lock_wait = '1s' }"))
            holder:kill("sigkill")
        end)

        it("a key from another schema", function()
            local backup = back_up()
            server:sql("CREATE DATABASE app_other; CREATE TABLE app_other.a (u INT, FOREIGN KEY (u) REFERENCES app.users (id))")
            assert.matches("app_other.a has a foreign key into app", refused("unsupported", backup))
        end)

        it("what is no backup", function()
            assert.matches("expected what db:dump returned", refused("usage", 7))
            assert.matches("x is not there", refused("backup_damaged", "x"))
            assert.matches("it has no path", refused("usage", {}))
        end)
    end)

    it("takes a copy where the first file is damaged", function()
        local backup = assert(body(([[return db:dump { to = %q, also = { %q } }]]):format(t.temp(), t.temp())))
        os.remove(backup.path)
        assert.equal(backup.copies[1], body(("return db:restore(%s)"):format(lua(backup))).file)
    end)

    it("lets the application write through the swap", function()
        local backup = back_up()
        server:sql("DELETE FROM users WHERE id < 100", "app")
        local writer = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app", "--force",
            input = [[
                SET @end = NOW(6) + INTERVAL 60 SECOND;
                DELIMITER //
                BEGIN NOT ATOMIC WHILE NOW(6) < @end DO
                    INSERT INTO nokey VALUES (1, UUID()); DO SLEEP(0.002); END WHILE; END//
            ]] }
        t.eventually("it writes", function()
            return server:sql("SELECT COUNT(*) > 20 FROM nokey", "app") == "1"
        end)
        local result, problem = body(("return db:restore(%s, { loses = 100000 })"):format(lua(backup)))
        writer:kill()
        writer:wait()
        assert.is_nil(problem and problem.message)
        assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app"))
        assert.is_true(result.lost.nokey > 10)
    end)

    -- kill -9 of the host at any moment: before a resume the database is the old one or the new one; after it the new one.
    it("is old or new after a crash, and goes on", function()
        local backup, before = back_up()
        local path = t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local cfg = env.require { DATABASE_URL = { format = "mysql" } }
            local db = require("rollout.mysql").database(cfg.DATABASE_URL)
            step("it", function() return db:restore(%s, { loses = 1000 }) end)
        ]]):format(lua(backup)))
        local environment = { DATABASE_URL = server:url() }
        local function ruin()
            server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
            server:sql(play.SHOP .. play.RUIN, "app")
        end
        ruin()
        -- The statements whose traces can be seen from outside, in their order.
        local moments = {
            scratch = [[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_restore%']],
            loading = [[SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'rh\_restore%']],
            marked = [[SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'rh\_restore%'
                AND table_name LIKE 'rollouthost%']],
            kept = [[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'app\_broken%']],
            swapped = [[SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'app\_broken%']],
            code = [[SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'app' AND routine_name = 'twice']],
        }
        for _, moment in ipairs { "scratch", "loading", "marked", "kept", "swapped", "code" } do
            ruin()
            server:sql("DROP DATABASE IF EXISTS app_broken_old")
            for name in server:sql([[SELECT schema_name FROM information_schema.schemata
                WHERE schema_name LIKE 'app\_broken%']]):gmatch "[^\n]+" do
                server:sql("DROP DATABASE `" .. name .. "`")
            end
            local old = fingerprints()
            local state = t.temp()
            local host = t.start_host { path, state = state, env = environment }
            t.eventually(moment, function()
                return host.code or server:sql(moments[moment]) ~= "0"
            end, 60)
            host:kill("sigkill")
            host:wait()
            t.eventually("the server has finished what it was told", function()
                return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'") == "0"
            end, 30)
            local between = fingerprints()
            if between.tables.newcomer then
                assert.same(old.tables, between.tables, moment)
            else
                assert.same(before.tables, between.tables, moment)
            end
            local result = t.host { "resume", state = state, env = environment, timeout = 120 }
            assert.equal(0, result.code, moment .. ": " .. result.out .. result.err)
            assert.same(before, fingerprints(), moment)
            assert.equal("0", scratches(), moment)
            assert.equal("1", server:sql([[SELECT COUNT(*) FROM information_schema.schemata
                WHERE schema_name LIKE 'app\_broken%']]), moment)
        end
    end)
end)
