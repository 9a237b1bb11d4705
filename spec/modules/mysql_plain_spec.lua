-- A user's own .sql dump: recognised by content, loaded into a scratch, swapped in.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a plain dump", function()
    local server, folder

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        local names = server:sql([[SELECT schema_name FROM information_schema.schemata
            WHERE schema_name LIKE 'app%' OR schema_name LIKE 'rh\_%']])
        for name in names:gmatch "[^\n]+" do
            server:sql("SET foreign_key_checks = 0; DROP DATABASE `" .. name .. "`")
        end
        server:sql("CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
        folder = t.temp()
    end)

    local function dump(path, ...)
        local made = t.run { "mariadb-dump", "--no-defaults", "--user=root", "--socket=" .. server.socket, "--routines",
            "--events", "--hex-blob", "--default-character-set=utf8mb4", ... }
        assert(made.code == 0, made.err)
        return t.write(path, made.out)
    end

    local function fingerprints()
        return assert(play.body(server:url(), "return db:fingerprints()"))
    end

    local function restore(path, more)
        return play.body(server:url(), ("return db:restore(%q, %s)"):format(path, more or "{ loses = 1000 }"))
    end

    local function scratches()
        return server:sql([[SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'rh\_%']])
    end

    local function refused(code, pattern, path, more)
        local before = fingerprints()
        local value, problem = restore(path, more)
        assert.is_nil(value)
        assert.equal(code, problem.code, problem.message)
        assert.matches(pattern, problem.message)
        assert.same(before, fingerprints())
        assert.equal("0", scratches())
    end

    for _, kind in ipairs { "as it is", "compressed" } do
        it("is swapped in, with all that it has: " .. kind, function()
            local before = fingerprints()
            local path = dump(folder .. "/backup.sql", "app")
            if kind == "compressed" then
                assert(t.run({ "gzip", path }).code == 0)
                path = path .. ".gz"
            end
            server:sql(play.RUIN, "app")
            local result, problem = restore(path)
            assert.is_nil(problem and problem.message)
            assert.equal("plain", result.from)
            assert.same(before, fingerprints())
            assert.equal("newcomer", server:sql("SHOW TABLES LIKE 'newc%'", result.kept))
            assert.equal("0", scratches())
        end)
    end

    it("asks before it takes away what is not in it", function()
        local path = dump(folder .. "/backup.sql", "app")
        server:sql("INSERT INTO nokey VALUES (9, 'z')", "app")
        local run = t.start_host { (t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local db = require("rollout.mysql").database((env.require { DATABASE_URL = { format = "mysql" } }).DATABASE_URL)
            step("it", function() return db:restore(%q) end)
        ]]):format(path))), "--output", "json", state = folder .. "/state", env = { DATABASE_URL = server:url() } }
        t.eventually("it asks", function() return run.code or run.out:find '"approve.begin"' end, 20)
        assert.matches("at least 1 row in nokey %(1%)", run.out)
        run:kill("sigkill")
        run:wait()
    end)

    it("restores into a database of its own", function()
        local path = dump(folder .. "/backup.sql", "app")
        local before = fingerprints()
        local result = assert(restore(path, "{ into = 'app_copy' }"))
        assert.equal("app_copy", result.database)
        assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app_copy"))
        assert.same(before, fingerprints())
        refused("exists", "app_copy", path, "{ into = 'app_copy' }")
    end)

    describe("is refused, and nothing is touched,", function()
        it("where it was cut off", function()
            local path = dump(folder .. "/backup.sql", "app")
            t.write(path, t.read(path):sub(1, -2000))
            refused("backup_damaged", "not whole", path)
            assert(t.run({ "gzip", path }).code == 0)
            refused("backup_damaged", "not whole", path .. ".gz")
        end)

        it("where the compressed file was cut off", function()
            local path = dump(folder .. "/backup.sql", "app")
            assert(t.run({ "gzip", path }).code == 0)
            t.write(path .. ".gz", t.read(path .. ".gz"):sub(1, -2000))
            refused("backup_damaged", "gzip", path .. ".gz")
        end)

        it("where a statement fails", function()
            local path = dump(folder .. "/backup.sql", "app")
            t.write(path, (t.read(path):gsub("INSERT INTO `nokey`", "INSERT INTO `nokex`", 1)))
            refused("load", "nokex", path)
        end)

        it("where it is something else", function()
            refused("backup_damaged", "not there", folder .. "/none.sql")
            refused("backup_damaged", "no file", folder)
            refused("unsupported", "rollout.pg", t.write(folder .. "/pg.sql", "--\n-- PostgreSQL database dump\n--\n"))
            refused("unsupported", "custom format", t.write(folder .. "/c", "PGDMP\1\14"))
            refused("unsupported", "zip", t.write(folder .. "/z", "PK\3\4xxxx"))
            refused("unsupported", "no dump", t.write(folder .. "/s.sql", "INSERT INTO users VALUES (1);\n"))
        end)

        it("where it names its database, and would go there", function()
            refused("unsupported", "%-%-databases", dump(folder .. "/backup.sql", "--databases", "app"))
        end)
    end)
end)
