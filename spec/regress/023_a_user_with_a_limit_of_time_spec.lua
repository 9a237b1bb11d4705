-- A user whose statements may take some time only (MAX_STATEMENT_TIME) could back up no table that takes longer to be hashed.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a MariaDB user whose statements are limited in time", function()
    it("backs up and restores what takes longer", function()
        local server = t.mariadb()
        server:sql([[CREATE TABLE orders (id int PRIMARY KEY, slow char(128) AS (SHA2(REPEAT(id, 400000), 512)) VIRTUAL);
            INSERT INTO orders (id) SELECT 100 + seq FROM seq_1_to_100;
            ALTER USER app@'127.0.0.1' WITH MAX_STATEMENT_TIME 0.1; ALTER USER app@localhost WITH MAX_STATEMENT_TIME 0.1]], "app")
        local folder = t.temp()
        local _, problem = play.body(server:url(), ("return db:dump { to = %q, keep_scratch = false }"):format(folder),
            { timeout = 120 })
        assert.is_nil(problem and problem.message)
        server:sql("DELETE FROM orders WHERE id = 107", "app")
        _, problem = play.body(server:url(), ("return db:restore(db:backups { folder = %q }[1], { loses = 1 })"):format(folder),
            { timeout = 120 })
        assert.is_nil(problem and problem.message)
        assert.equal("100", server:sql("SELECT count(*) FROM orders", "app"))
    end)
end)
