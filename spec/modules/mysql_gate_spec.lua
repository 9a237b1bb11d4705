-- Rows that are written in the last moment before a swap: nobody loses them without having been asked.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local me = require("luv").os_get_passwd().username

local PLAYBOOK = [[
playbook "spec" { environments = { "test" }, roles = { ["database admin"] = { "]] .. me .. [[" } } }
local db = require("rollout.mysql").database(env.require { DATABASE_URL = { format = "mysql" } }.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups" } end)
return step("restore", function() return db:restore(backup, { role = "database admin" }) end)
]]

-- A transaction that has read a table keeps the swap waiting for its trigger, after all rows have been counted; then it writes
-- one elsewhere.
local LATE = [[
START TRANSACTION;
SELECT COUNT(*) FROM users;
SELECT GET_LOCK('it has read', 0);
DELIMITER //
BEGIN NOT ATOMIC
    WHILE (SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'DROP TRIGGER%' AND state LIKE 'Waiting%') = 0 DO
        DO SLEEP(0.01);
    END WHILE;
END//
DELIMITER ;
INSERT INTO nokey VALUES (7, 'late');
COMMIT;
]]

describe("the last moment before a swap", function()
    local server

    setup(function()
        server = t.mariadb()
        server:sql(play.SHOP, "app")
    end)

    local function session(text)
        return t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app", input = text }
    end

    it("counts what was written in it, and asks", function()
        local late = session(LATE)
        t.eventually("it reads", function()
            return server:sql "SELECT IS_USED_LOCK('it has read') IS NOT NULL" == "1"
        end, 30)
        local path, folder = t.playbook(PLAYBOOK, "spec")
        local host = t.start_host { path, "--output", "json", state = folder .. "/state", cwd = folder,
            env = { DATABASE_URL = server:url() } }
        t.eventually("it asks", function() return host.code or host.out:find '"approve.begin"' end, 60)
        assert.is_nil(host.code, host.out .. host.err)
        late:wait(10)
        assert.equal("1", server:sql("SELECT COUNT(*) FROM nokey WHERE y = 'late'", "app")) -- as it was, and in use
        assert.equal("10", server:sql("SELECT COUNT(*) FROM nokey WHERE y <> 'late'", "app"))
        assert.equal("2", server:sql [[SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'app']])
        assert.matches("at least 1 row in nokey (1)", host.out, 1, true)
        local id = t.list(folder .. "/state/runs")[1]
        t.eventually("the question is on disk", function()
            return t.host({ "show", id, state = folder .. "/state" }).out:find("restore: approval", 1, true)
        end)
        local approved = t.host { "approve", id, "restore", "--comment", "a test row", state = folder .. "/state" }
        assert.equal(0, approved.code, approved.out .. approved.err)
        host:wait(60)
        assert.equal(0, host.code, host.out .. host.err)
        local restored = t.digest_events({ out = host.out, err = host.err }).ended.restore.value
        assert.same({ nokey = 1 }, restored.lost)
        assert.is_nil(restored.notes)
        assert.equal("0", server:sql("SELECT COUNT(*) FROM nokey WHERE y = 'late'", "app"))
        assert.equal("1", server:sql("SELECT COUNT(*) FROM nokey WHERE y = 'late'", restored.kept))
        assert.equal("", server:sql("SHOW TABLES LIKE 'rollouthost%'", "app"))
        server:sql("DROP DATABASE " .. restored.kept)
    end)

    it("is not passed without the host: the old state stays, and a resumed run goes on", function()
        server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql(play.SHOP, "app")
        local holder = session "START TRANSACTION; SELECT COUNT(*) FROM nokey; SELECT GET_LOCK('it holds', 0); SELECT SLEEP(1000)"
        t.eventually("it holds", function() return server:sql "SELECT IS_USED_LOCK('it holds') IS NOT NULL" == "1" end, 30)
        local path, folder = t.playbook(PLAYBOOK, "spec")
        local options = { state = folder .. "/state", cwd = folder, env = { DATABASE_URL = server:url() }, timeout = 120 }
        local host = t.start_host { path, state = options.state, cwd = options.cwd, env = options.env }
        local waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'RENAME TABLE%'"
        t.eventually("it waits", function() return host.code or server:sql(waiting) == "1" end, 60)
        assert.is_nil(host.code, host.out .. host.err)
        host:kill "sigkill"
        host:wait()
        server:sql("KILL " .. server:sql "SELECT IS_USED_LOCK('it holds')")
        holder:wait(10)
        t.eventually("the server has finished what it was told", function()
            return server:sql "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'" == "0"
        end, 60)
        assert.equal("0", server:sql [[SELECT COUNT(*) FROM information_schema.tables
            WHERE table_schema LIKE 'app\_broken%' AND table_name = 'users']])
        assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app"))
        options[1] = "resume"
        local result = t.host(options)
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("300", server:sql("SELECT COUNT(*) FROM users", "app"))
        assert.equal("2", server:sql [[SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'app']])
    end)
end)
