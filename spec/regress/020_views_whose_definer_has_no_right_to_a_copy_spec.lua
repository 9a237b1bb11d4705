-- A view whose definer may do nothing but in its own schema, as applications' users are, is none in a copy: MariaDB shows it
-- otherwise, and what stands on it cannot be created. No backup of such a schema could be proven.
local t = require "spec.helper"
local play = require "spec.modules.mysql_play"
local process = require "spec.world.process"

local SHOP = [[
CREATE TABLE orders (id int PRIMARY KEY, total int); INSERT INTO orders VALUES (1, 10), (2, 20);
CREATE USER shop@'%' IDENTIFIED BY 'shop-password'; GRANT ALL ON app.* TO shop@'%';
CREATE DEFINER=shop@'%' VIEW large AS SELECT id, total FROM orders WHERE total > 15;
CREATE DEFINER=shop@'%' SQL SECURITY INVOKER VIEW asked AS SELECT id FROM orders;
CREATE VIEW `odd ``name` AS SELECT id FROM large; CREATE SQL SECURITY INVOKER VIEW `asked ``too` AS SELECT id FROM `odd ``name`;
]]

describe("a view whose definer has no right to a copy", function()
    local server, url

    before_each(function()
        server = t.mariadb()
        server:sql(SHOP, "app")
        url = server:url()
    end)

    local function views()
        return server:sql("SELECT table_name, definer, security_type, view_definition FROM information_schema.views"
            .. " WHERE table_schema = 'app' ORDER BY 1; SELECT * FROM `odd ``name`; SELECT * FROM `asked ``too`", "app")
    end

    local function ruin()
        server:sql("DROP VIEW large, asked; CREATE VIEW asked AS SELECT 1; DELETE FROM orders", "app")
    end

    for _, mode in ipairs { "swap", "in_place" } do
        it("is backed up and comes back as it was: " .. mode, function()
            local before = views()
            local backup, problem = play.body(url, ("return db:dump { to = %q, keep_scratch = false }"):format(t.temp()))
            assert.is_nil(problem and problem.message)
            ruin()
            local _, failed = play.body(url, ([[local backup = db:backups { folder = %q }[1]
                db:restore(backup, { mode = %q, loses = 10 })]]):format(backup.path:match("^(.*)/"), mode))
            assert.is_nil(failed and failed.message)
            assert.equal(before, views())
        end)
    end

    it("comes back from a dump of one's own", function()
        local before = views()
        local path = t.temp() .. "/shop.sql"
        local made = process.run { "mariadb-dump", "--no-defaults", "--user=root", "--socket=" .. server.socket,
            "--result-file=" .. path, "app" }
        assert.equal("", made.err)
        ruin()
        local _, problem = play.body(url, ("db:restore(%q, { loses = 10 })"):format(path))
        assert.is_nil(problem and problem.message)
        assert.equal(before, views())
    end)
end)
