local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local uv = require "luv"

local DUMP = [[
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" } }
local db = require("rollout.mysql").database(cfg.DATABASE_URL)
step("it", function() return db:dump { to = %q } end)
]]

describe("db:dump", function()
    local server

    setup(function()
        server = t.mariadb { password = "wine-dark&ocean" } -- no other spec that runs meanwhile has this one
    end)

    before_each(function()
        server:sql("DROP DATABASE IF EXISTS app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
    end)

    local function body(text, options)
        return play.body(server:url(), text, options)
    end

    local function schemas()
        return server:sql("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\\_%'")
    end

    -- Makes the dump take a while: some tens of MiB.
    local function grow(where)
        (where or server):sql("CREATE TABLE zz_big (id INT PRIMARY KEY, a VARCHAR(200), b VARCHAR(200));"
            .. "INSERT INTO zz_big SELECT seq, REPEAT(MD5(seq), 5), REPEAT(SHA1(seq), 4) FROM seq_1_to_50000", "app")
    end

    it("leaves a proven file, its manifest and its copies, and nothing else", function()
        local folder, mirror = t.temp(), t.temp()
        local backup = assert(body(([[return db:dump { to = %q, also = { %q .. "/deep/er" } }]]):format(folder, mirror)))
        assert.is_true(backup.verified)
        assert.equal(6, backup.tables)
        assert.equal(300 + 200 + 10, backup.rows)
        assert.matches("/app%-%d+%-%d+%.sql$", backup.path)
        assert.equal(uv.fs_stat(backup.path).size, backup.bytes)
        assert.equal(tonumber("100600", 8), uv.fs_stat(backup.path).mode)
        assert.same({ backup.path:match("[^/]+$"), backup.path:match("[^/]+$") .. ".manifest.json" }, t.list(folder))
        assert.equal(t.read(backup.path), t.read(backup.copies[1]))
        assert.equal(t.read(backup.manifest), t.read(backup.copies[1] .. ".manifest.json"))
        assert.matches("%-%- Dump completed", t.read(backup.path):sub(-100))
        assert.equal("0", schemas())
    end)

    it("is the whole database also for the client alone", function()
        local backup = assert(body(([[return db:dump { to = %q, name = "by-hand.sql" }]]):format(t.temp())))
        server:sql("CREATE DATABASE IF NOT EXISTS by_hand; USE by_hand;\nSOURCE " .. backup.path)
        local function code(name)
            return server:sql(([[SET @name = '%s';
                SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = @name;
                SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = @name;
                SELECT COUNT(*) FROM information_schema.events WHERE event_schema = @name;
                SELECT COUNT(*) FROM information_schema.views WHERE table_schema = @name]]):format(name))
        end
        assert.equal("2\n2\n1\n2", code "by_hand")
        assert.equal(code "app", code "by_hand")
        server:sql("DROP DATABASE by_hand")
    end)

    it("holds one moment while the application writes", function()
        grow()
        local writer = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app", "--force",
            input = [[
                SET @end = NOW(6) + INTERVAL 60 SECOND;
                DELIMITER //
                BEGIN NOT ATOMIC WHILE NOW(6) < @end DO
                    INSERT INTO users (name) VALUES (UUID()); DELETE FROM zz_big ORDER BY id LIMIT 1;
                    UPDATE nokey SET y = UUID(); END WHILE; END//
            ]] }
        t.eventually("it writes", function()
            return server:sql("SELECT COUNT(*) > 300 FROM users", "app") == "1"
        end)
        for _ = 1, 3 do
            local backup, problem = body(([[return db:dump { to = %q }]]):format(t.temp()))
            assert.is_true(backup and backup.verified, problem and problem.message)
            assert.is_true(backup.locked_ms < backup.ms)
        end
        assert.is_nil(writer.code)
        writer:kill()
        writer:wait()
    end)

    it("shows the password in no argument, environment, file or output", function()
        grow()
        local folder = t.temp()
        local path = t.playbook(DUMP:format(folder))
        local variables = t.write(t.temp() .. "/variables", "DATABASE_URL='" .. server:url() .. "'\n")
        local host = t.start_host { path, "--env-file", variables, state = folder .. "/state" }
        local looks, found = 0, {}
        local function look(file)
            local handle = io.open(file, "rb")
            local text = handle and handle:read("a") or ""
            if handle then
                handle:close()
            end
            if text:find(server.password, 1, true) or text:find("wine%-dark%%26ocean") then
                found[#found + 1] = file
            end
        end
        t.eventually("the host ends", function()
            for pid, kind in function(scan) return uv.fs_scandir_next(scan) end, uv.fs_scandir("/proc") do
                if kind == "directory" and pid:find("^%d+$") then
                    looks = looks + 1
                    look("/proc/" .. pid .. "/cmdline")
                    local command = io.open("/proc/" .. pid .. "/comm")
                    if command and (command:read("a") or ""):find("^maria") then
                        look("/proc/" .. pid .. "/environ")
                    end
                    if command then
                        command:close()
                    end
                end
            end
            return host.code
        end, 60)
        host:wait()
        assert.equal(0, host.code, host.out .. host.err)
        assert.is_true(looks > 100)
        local search = t.run { "grep", "-rlaF", "-e", server.password, "-e", "wine-dark%26ocean", folder }
        assert.equal("", search.out)
        assert.is_nil((host.out .. host.err):find(server.password, 1, true))
        assert.same({}, found)
    end)

    it("says so when the server dies meanwhile, and leaves nothing that looks like a backup", function()
        local mortal = t.mariadb() -- what is started in a test ends with it
        grow(mortal)
        local folder = t.temp()
        local path = t.playbook(DUMP:format(folder))
        local host = t.start_host { path, state = t.temp(), env = { DATABASE_URL = mortal:url() } }
        t.eventually("the dump begins", function()
            return t.list(folder)[1]
        end)
        mortal:kill()
        host:wait()
        assert.equal(1, host.code)
        assert.same({}, t.list(folder))
        assert.matches("mysql: ", host.out .. host.err)
    end)

    it("starts anew after a crash of the host, and cleans up behind the first try", function()
        grow()
        local folder = t.temp()
        local path = t.playbook(DUMP:format(folder))
        local state, environment = t.temp(), { DATABASE_URL = server:url() }
        local host = t.start_host { path, state = state, env = environment }
        t.eventually("the dump begins", function()
            return t.list(folder)[1]
        end)
        host:kill("sigkill")
        host:wait()
        local result = t.host { "resume", state = state, env = environment, timeout = 60 }
        assert.equal(0, result.code, result.out .. result.err)
        local names = t.list(folder)
        assert.equal(2, #names, table.concat(names, " "))
        assert.matches("%.sql$", names[1])
        assert.equal("0", schemas())
    end)

    it("leaves nothing when its time is up", function()
        grow()
        local folder, state = t.temp(), t.temp()
        local path = t.playbook((DUMP:gsub('"it"', '"it", { timeout = "700ms" }'):format(folder)))
        local result = t.host { path, state = state, env = { DATABASE_URL = server:url() } }
        assert.equal(1, result.code, result.out)
        assert.matches("was cancelled", result.out)
        assert.same({}, t.list(folder))
        assert.equal("0", schemas())
        server:sql("INSERT INTO nokey VALUES (2, 'unlocked')", "app")
    end)

    describe("refuses", function()
        local function fails(code, text)
            local value, problem = body(text)
            assert.is_nil(value)
            assert.equal(code, problem.code, problem.message)
            assert.equal("0", schemas())
            return problem.message
        end

        local function as(user, grants, text)
            server:sql(([[DROP USER IF EXISTS '%s'@'%%'; CREATE USER '%s'@'%%' IDENTIFIED BY 'limited-user'; %s]]):format(user,
                user, grants))
            local value, problem = play.body(("mysql://%s:limited-user@127.0.0.1:%d/app"):format(user, server.port), text)
            assert.equal("0", schemas())
            return value, problem
        end

        it("tables without transactions, unless the application is stopped", function()
            server:sql("CREATE TABLE old (id INT) ENGINE=MyISAM; INSERT INTO old VALUES (1), (2)", "app")
            assert.matches("old %(MyISAM%)", fails("not_transactional", ("db:dump { to = %q }"):format(t.temp())))
            assert.is_true((body(("return db:dump { to = %q, maintenance = true }"):format(t.temp()))).verified)
        end)

        it("an empty database", function()
            server:sql("DROP DATABASE app; CREATE DATABASE app")
            fails("empty", ("db:dump { to = %q }"):format(t.temp()))
        end)

        it("to overwrite", function()
            local folder = t.temp()
            t.write(folder .. "/there.sql", "precious")
            fails("exists", ([[db:dump { to = %q, name = "there.sql" }]]):format(folder))
            assert.equal("precious", t.read(folder .. "/there.sql"))
        end)

        it("a folder that cannot be written", function()
            fails("io", [[db:dump { to = "/proc/nowhere" }]])
        end)

        it("a user who may not lock, and says what helps", function()
            local grants = "GRANT ALL ON app.* TO 'few'@'%'; GRANT ALL ON `rh\\_%`.* TO 'few'@'%';"
                .. "GRANT SELECT ON mysql.* TO 'few'@'%'"
            local _, problem = as("few", grants, ("db:dump { to = %q }"):format(t.temp()))
            assert.equal("privileges", problem.code)
            assert.matches("RELOAD", problem.message)
        end)

        it("a user who may not create the scratch schema, and says what helps", function()
            local _, problem = as("fewer", "GRANT ALL ON app.* TO 'fewer'@'%'; GRANT RELOAD ON *.* TO 'fewer'@'%'",
                ("db:dump { to = %q }"):format(t.temp()))
            assert.equal("privileges", problem.code)
            assert.matches("GRANT ALL ON `rh", problem.message, 1, true)
        end)

        it("what the server takes no copy of, and says why", function()
            local careful = t.mariadb { args = { "--log-bin" } }
            careful:sql(play.SHOP, "app")
            careful:sql("CREATE USER 'nosuper'@'127.0.0.1' IDENTIFIED BY 'no-super-x';"
                .. "GRANT RELOAD, SELECT ON *.* TO 'nosuper'@'127.0.0.1'; GRANT ALL ON app.* TO 'nosuper'@'127.0.0.1';"
                .. "GRANT ALL ON `rh\\_%`.* TO 'nosuper'@'127.0.0.1'")
            local folder = t.temp()
            local _, problem = play.body(("mysql://nosuper:no-super-x@127.0.0.1:%d/app"):format(careful.port),
                ([[return db:dump { to = %q }]]):format(folder))
            assert.equal("load", problem.code)
            assert.matches("ERROR 1419", problem.message)
            assert.same({}, t.list(folder))
            assert.equal("0", careful:sql("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\\_%'"))
        end)

        it("to wait for ever for a statement that holds a table", function()
            local holder = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app", "-e",
                "UPDATE users SET name = 'x' WHERE id = 1 AND SLEEP(60)" }
            t.eventually("it runs", function()
                return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE users%'") == "1"
            end)
            local message = fails("lock_timeout", ("db:dump { to = %q }"):format(t.temp()))
            assert.matches("SHOW PROCESSLIST", message)
            holder:kill("sigkill")
        end)

        it("options that it does not know", function()
            assert.matches("did you mean", fails("usage", [[db:dump { to = "x", als = {} }]]))
            fails("usage", [[db:dump {}]])
            fails("usage", [[db:dump { to = "x", name = "../x" }]])
        end)
    end)
end)
