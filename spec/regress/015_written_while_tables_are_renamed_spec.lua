-- MariaDB cannot rename tables that are locked: what was written between the last count and the renames was lost, and nobody was
-- told. Who may read the server's counters of rows is asked meanwhile (mysql_gate_spec); this is about who may not.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a row written to MariaDB while the tables are being renamed", function()
    it("is told to be lost, and where it is", function()
        local server = t.mariadb()
        server:sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY); INSERT INTO a VALUES (1)", "app")
        server:sql("CREATE USER 'few'@'127.0.0.1' IDENTIFIED BY 'few-rights-x'; GRANT RELOAD, SELECT ON *.* TO 'few'@'127.0.0.1';"
            .. "GRANT ALL ON app.* TO 'few'@'127.0.0.1'; GRANT ALL ON `rh\\_%`.* TO 'few'@'127.0.0.1'")
        local url = ("mysql://few:few-rights-x@127.0.0.1:%d/app"):format(server.port)
        local backup = play.body(url, ("return db:dump { to = %q }"):format(t.temp()))
        local holder = t.start { "mariadb", "--no-defaults", "--unbuffered", "--user=root", "--socket=" .. server.socket, "app",
            input = true }
        holder:write("BEGIN; SELECT id FROM a; SELECT 'held';\n")
        t.eventually("a transaction uses a table", function()
            return holder.out:find("held", 1, true)
        end)
        local path, folder = t.playbook(([[
            playbook "spec" { environments = { "test" } }
            local cfg = env.require { U = {} }
            local db = require("rollout.mysql").database(cfg.U)
            step("it", function() return db:restore({ path = %q, sha256 = %q, manifest_sha256 = %q }) end)
        ]]):format(backup.path, backup.sha256, backup.manifest_sha256))
        local host = t.start_host { path, "--output", "json", env = { U = url }, cwd = folder, state = folder .. "/state" }
        t.eventually("it waits for that table", function()
            return server:sql("SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'RENAME TABLE%'") ~= "0"
        end, 30)
        server:sql("INSERT INTO z VALUES (7)", "app")
        holder:write("COMMIT;\n")
        assert.equal(0, host:wait(30).code, host.out .. host.err)
        assert.matches('"lost":{"z":1}', host.out, 1, true)
        assert.matches("1 of the lost rows were written in the moment of the swap", host.out, 1, true)
        assert.equal("0", server:sql("SELECT count(*) FROM z", "app"))
        holder:kill()
    end)
end)
