-- mariadb-dump locks each table that it fills, and that table alone: one whose default is a sequence's next value could not be
-- loaded ("was not locked with LOCK TABLES"), and no backup of the schema be proven.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a table of MariaDB's whose default is a sequence's next value", function()
    it("is backed up and restored", function()
        local server = t.mariadb()
        server:sql([[CREATE SEQUENCE numbers START 5 INCREMENT 10;
            CREATE TABLE orders (id int DEFAULT nextval(numbers) PRIMARY KEY, total int);
            INSERT INTO orders (total) VALUES (1), (2)]], "app")
        local _, problem = play.body(server:url(), ([[
            local backup = db:dump { to = %q, keep_scratch = false }
            db:exec "DELETE FROM orders"
            db:restore(backup, { loses = 2 })
        ]]):format(t.temp()))
        assert.is_nil(problem and problem.message)
        server:sql("DELETE FROM orders WHERE id < 15; INSERT INTO orders (total) VALUES (3)", "app")
        assert.matches("^15\t2\n%d%d+\t3$", server:sql("SELECT * FROM orders ORDER BY id", "app"))
    end)
end)
