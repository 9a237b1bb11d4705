-- A restore of MariaDB's in place whose host was killed could not be resumed: it met the load that went on without it ("Deadlock
-- found"), and then took what it had loaded itself for rows that were written since.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local PLAYBOOK = [[
playbook "spec" { environments = { "test" } }
local cfg = env.require { DATABASE_URL = { format = "mysql" } }
local db = require("rollout.mysql").database(cfg.DATABASE_URL)
local backup = step("back up", function() return db:dump { to = "backups", keep_scratch = false } end)
step("migrate", function() db:exec "DELETE FROM orders WHERE id < 100" end)
step("restore", { timeout = "4m" }, function() return db:restore(backup, { mode = "in_place" }) end)
]]

describe("a restore of MariaDB's in place, its host killed,", function()
    it("is resumed to its end, and asks nobody about what it wrote itself", function()
        local server = t.mariadb()
        server:sql([[CREATE TABLE orders (id int PRIMARY KEY, what text);
            INSERT INTO orders SELECT seq, REPEAT('x', 300) FROM seq_1_to_40000;
            CREATE TABLE others AS SELECT * FROM orders; CREATE VIEW seen AS SELECT id FROM orders]], "app")
        local before = play.body(server:url(), "return db:fingerprints()")
        local path, folder = t.playbook(PLAYBOOK)
        local variables = t.write(folder .. "/variables", "DATABASE_URL='" .. server:url() .. "'\n")
        local state = folder .. "/state"
        local host = t.start_host { path, "--env-file", variables, state = state, cwd = folder }
        t.eventually("the load", function()
            assert.is_nil(host.code, host.out)
            return server:sql([[SELECT count(*) FROM information_schema.processlist WHERE db = 'app' AND info LIKE 'INSERT INTO%']])
                ~= "0"
        end, 60)
        host:kill "sigkill"
        host:wait(10)
        local result = t.host { "resume", "--env-file", variables, state = state, cwd = folder, timeout = 120 }
        assert.equal(0, result.code, result.out .. result.err)
        assert.same(before, play.body(server:url(), "return db:fingerprints()"))
        assert.equal("orders others seen", (server:sql("SHOW TABLES", "app"):gsub("\n", " ")))
    end)
end)
