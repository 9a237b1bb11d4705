-- A user with the rights that a backup asks for had a proven backup, and no way to swap it in: the live tables could not be kept.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a MariaDB user with the rights that are documented", function()
    it("can back up, and swap the backup in", function()
        local server = t.mariadb()
        server:sql([[CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2);
            CREATE USER few@'127.0.0.1' IDENTIFIED BY 'few-password'; GRANT RELOAD ON *.* TO few@'127.0.0.1';
            GRANT ALL ON app.* TO few@'127.0.0.1'; GRANT ALL ON `rh\_%`.* TO few@'127.0.0.1']], "app")
        local url = ("mysql://few:few-password@127.0.0.1:%d/app"):format(server.port)
        local result, problem = play.body(url, ([[
            local backup = db:dump { to = %q }
            db:exec "DELETE FROM orders"
            return db:restore(backup, { loses = 2 })
        ]]):format(t.temp()))
        assert.is_nil(problem and problem.message)
        assert.matches("^rh_app_broken_", result.kept)
        assert.equal("2", server:sql("SELECT count(*) FROM orders", "app"))
        assert.equal("0", server:sql("SELECT count(*) FROM orders", result.kept))
    end)
end)
