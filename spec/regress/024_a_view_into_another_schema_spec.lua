-- A view that looks into another schema names its own as well, in a copy too. Once a migration had dropped or changed a table
-- that such a view reads, no proven backup could be restored any more: "Table 'app.orders' doesn't exist".
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("a backup with a view into another schema of MariaDB's", function()
    local server, folder

    before_each(function()
        server, folder = t.mariadb(), t.temp()
        server:sql([[CREATE DATABASE stock; CREATE TABLE stock.items (id int); INSERT INTO stock.items VALUES (1);
            CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1);
            CREATE VIEW wanted AS SELECT o.id FROM orders o JOIN stock.items i USING (id);
            CREATE VIEW above AS SELECT * FROM wanted; CREATE USER viewer@'%'; GRANT SELECT ON app.* TO viewer@'%';
            CREATE DEFINER=viewer@'%' VIEW theirs AS SELECT id FROM orders]], "app")
        local _, problem = play.body(server:url(), ("return db:dump { to = %q, keep_scratch = false }"):format(folder))
        assert.is_nil(problem and problem.message)
        server:sql("DROP TABLE orders; DROP VIEW above, theirs; CREATE TABLE newcomer (id int)", "app")
    end)

    local function restored(options, url)
        return play.body(url or server:url(), ("return db:restore(db:backups { folder = %q, all = true }[1], { loses = 10, %s })")
            :format(folder, options or ""))
    end

    it("comes back though the table that the view reads is gone", function()
        local before = play.body(server:url(), "return db:fingerprints()")
        local _, problem = restored()
        assert.is_nil(problem and problem.message)
        assert.not_same(before, play.body(server:url(), "return db:fingerprints()"))
        assert.equal("1", server:sql("SELECT id FROM above", "app"))
        assert.equal("viewer@%", server:sql("SELECT definer FROM information_schema.views WHERE table_name = 'theirs'"))
    end)

    it("is refused to a user who may not create the view for its definer, and nothing is touched", function()
        server:sql([[CREATE USER few@'127.0.0.1' IDENTIFIED BY 'few-password'; GRANT ALL ON app.* TO few@'127.0.0.1';
            GRANT RELOAD, SELECT ON *.* TO few@'127.0.0.1'; GRANT ALL ON `rh\_%`.* TO few@'127.0.0.1']])
        local _, problem = restored("", ("mysql://few:few-password@127.0.0.1:%d/app"):format(server.port))
        assert.equal("access_denied", problem.code)
        assert.matches("SET USER", problem.message)
        assert.equal("newcomer\nwanted", server:sql("SHOW TABLES", "app"))
    end)
end)
