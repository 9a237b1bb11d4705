-- A database of more tables than the server remembers, and how far its backup and its restore are.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local PLAYBOOK = [[
playbook "spec" { environments = { "test" } }
local db = require("rollout.mysql").database(env.require { DATABASE_URL = { format = "mysql" } }.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups", keep_scratch = false } end)
step("bring back", function() return db:restore(backup) end)
]]

local function fill(server, tables)
    server:sql(([[
        CREATE TABLE t1 (id INT PRIMARY KEY, what VARCHAR(40), at DATETIME, KEY (what));
        INSERT INTO t1 SELECT seq, MD5(seq), NOW() FROM seq_1_to_5;
        DELIMITER //
        BEGIN NOT ATOMIC FOR i IN 2..%d DO
            EXECUTE IMMEDIATE CONCAT('CREATE TABLE t', i, ' LIKE t1');
            EXECUTE IMMEDIATE CONCAT('INSERT INTO t', i, ' SELECT * FROM t1');
        END FOR; END//
    ]]):format(tables), "app")
end

describe("many tables:", function()
    local server

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        server:sql "DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4"
    end)

    it("450 are backed up, proven and brought back, more than the server remembers", function()
        local tables = 450
        fill(server, tables)
        local value, problem = play.body(server:url(), ([[
            local backup = db:dump { to = %q }
            db:exec "DELETE FROM t7"
            return { backup, db:restore(backup, { loses = 5 }) }
        ]]):format(t.temp()), { timeout = 300 })
        assert.is_nil(problem and problem.message)
        local backup, restored = table.unpack(value)
        assert.equal(tables, backup.tables)
        assert.is_true(backup.verified)
        assert.equal("scratch", restored.from)
        assert.same({ t7 = 5 }, restored.lost)
        assert.equal("5", server:sql("SELECT COUNT(*) FROM t7", "app"))
    end)

    it("a load tells its bytes and its tables, the proof its tables", function()
        local tables = 200
        fill(server, tables)
        local path, folder = t.playbook(PLAYBOOK, "spec")
        local host = t.start_host { path, "--output", "json", state = folder .. "/state", cwd = folder,
            env = { DATABASE_URL = server:url() } }
        -- However fast the machine is, the load is stopped in its middle until it has told how far it is.
        local loaded = [[SELECT COUNT(*) FROM information_schema.tables
            WHERE table_schema LIKE 'rh\_%s%%' AND table_name LIKE 't%%']]
        for _, what in ipairs { "scratch", "restore" } do
            t.eventually("it loads " .. what, function()
                return host.code or tonumber(server:sql(loaded:format(what))) > 5
            end, 60)
            local seen = #host.out
            local holder = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "-e",
                "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(1000)" }
            local function session()
                return server:sql "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(1000)'"
            end
            t.eventually("it is held", function() return session() ~= "" end, 30)
            t.eventually("it tells", function()
                return host.code or host.out:sub(seen):find('"beside":{[^}]*"unit":"tables"}')
            end, 30)
            assert.is_nil(host.code, host.out .. host.err)
            server:sql("KILL " .. session())
            holder:wait(10)
        end
        host:wait(120)
        assert.equal(0, host.code, host.out .. host.err)
    end)
end)
