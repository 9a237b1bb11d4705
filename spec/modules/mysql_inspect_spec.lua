local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

local BEFORE = [[
CREATE TABLE clients (id INT PRIMARY KEY, name VARCHAR(100) NOT NULL);
CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT);
INSERT INTO clients SELECT seq, CONCAT('client ', seq) FROM seq_1_to_120;
INSERT INTO orders SELECT seq, IF(seq % 10 > 0, seq, NULL) FROM seq_1_to_100;
CREATE VIEW taskDetailsView AS SELECT id, name AS preparerId FROM clients;
]]
local MIGRATION = [[
ALTER TABLE clients ADD paused BOOLEAN NOT NULL DEFAULT FALSE, ADD status ENUM('none','trial','it''s') NOT NULL DEFAULT 'none';
ALTER TABLE orders ADD client_id INT;
UPDATE orders SET client_id = customer_id;
ALTER TABLE orders ADD CONSTRAINT orders_client_fkey FOREIGN KEY (client_id) REFERENCES clients (id),
    ADD CONSTRAINT sane CHECK (id > 0);
CREATE INDEX guards ON clients (paused, status);
]]

-- The checklists' lines, in the words that pg takes too.
local CHECKLISTS = {
    { "right database", [[db:version { database = "app", product = "MariaDB", major = { at_least = 10 } }]] },
    { "new columns", [[db:columns("clients", { "paused", status = { type = "enum", nullable = false, default = "none" },
        name = "varchar(100)" })]] },
    { "flag", [[db:columns("clients", { paused = { type = "boolean", default = 0 } })]] },
    { "backfill", [[db:backfilled("orders", "customer_id", "client_id", { from = 90 })]] },
    { "enum", [[db:enum("clients", "status", { "none", "trial", "it's" })]] },
    { "constraints", [[db:constraints("orders", { sane = "check", orders_client_fkey = { kind = "foreign key",
        references = "clients(id)" } })]] },
    { "indexes", [[db:indexes("clients", { { "paused" }, "guards", PRIMARY = { unique = true } })]] },
    { "orphans", [[db:orphans {}]] },
    { "views", [[db:views { taskDetailsView = { "preparerId" } }]] },
    { "no row lost", [[db:row_counts(before)]] },
    { "rows", [[db:row_counts { clients = { at_least = 100 } }]] },
    { "pool", [[db:connections { share = { below = "80%" }, idle_in_transaction = 0 }]] },
    { "slow", [[db:slow_queries("1s", {})]] },
    { "settings", [[db:settings { autocommit = true, max_connections = { at_least = 20 } }]] },
    { "size", [[db:size { bytes = { below = "1GiB" } }]] },
}

describe("mysql reads for gates", function()
    local server, url

    setup(function()
        server = t.mariadb()
        url = server:url()
        server:sql(BEFORE, "app")
    end)

    local function judged(expression, where)
        local found, problem = play.body(where or url, ("local e = %s; return { e.verdict, e.text }"):format(expression))
        if not found then
            error(problem.message, 2)
        end
        return found[1], found[2]
    end

    it("say what the checklists ask, before and after the migration", function()
        local gates = { [[local mysql = require "rollout.mysql"
            playbook "terp" { environments = { "test" } }
            local cfg = env.require { DATABASE_URL = { format = "mysql" } }
            local db = mysql.database(cfg.DATABASE_URL)
            local before = step("count", function() return db:row_counts() end)]] }
        for _, line in ipairs(CHECKLISTS) do
            gates[#gates + 1] = ("gate(%q, { on_failure = 'alert' }, function() return %s end)"):format(line[1], line[2])
        end
        local function failing()
            local result = t.play(table.concat(gates, "\n"), { env = { DATABASE_URL = url } })
            assert.equal(0, result.code, result.out .. result.err)
            local names = {}
            for _, line in ipairs(CHECKLISTS) do
                if assert(result.ended[line[1]], line[1]).status ~= "ok" then
                    names[#names + 1] = line[1]
                end
            end
            return names
        end
        assert.same({ "new columns", "flag", "backfill", "enum", "constraints", "indexes", "orphans" }, failing())
        server:sql(MIGRATION, "app")
        assert.same({}, failing())
    end)

    it("are told as data", function()
        local found = (play.body(url, [[return { db:columns "clients", db:indexes "clients", db:constraints "orders",
            db:row_counts(), db:enum("clients", "status"), db:size "clients", db:orphans(),
            db:settings("log_bin", "max_connections") }]]))
        assert.same({ type = "tinyint(1)", nullable = false, default = "0", position = 3 }, found[1].paused)
        assert.same({ columns = { "paused", "status" }, unique = false, primary = false, valid = true, method = "btree",
            table = "clients" }, found[2].guards)
        assert.same({ kind = "foreign key", columns = { "client_id" }, valid = true, table = "orders",
            references = "clients(id)" }, found[3].orders_client_fkey)
        assert.same({ clients = 120, orders = 100 }, found[4])
        assert.same({ "none", "trial", "it's" }, found[5])
        assert.is_true(found[6].bytes > 0)
        assert.same({ orders_client_fkey = 0 }, found[7])
        assert.same({ log_bin = false, max_connections = found[8].max_connections }, found[8])
    end)

    it("say what is missing, and what is not as it should be", function()
        local verdict, text = judged [[db:columns("clients", { "pausd", name = "text", id = false })]]
        assert.equal("fail", verdict)
        assert.matches('pausd is missing (did you mean "paused"?)', text, 1, true)
        assert.matches("name is varchar(100), expected text", text, 1, true)
        assert.matches("id is still there", text, 1, true)
        assert.matches('there is no table client: did you mean "clients"?', select(2, judged [[db:columns("client", {})]]), 1, true)
        assert.matches('did you mean "customer_id"', select(2, judged [[db:backfilled("orders", "custmer_id", "client_id")]]), 1,
            true)
        assert.matches("no valid index", select(2, judged [[db:indexes("clients", { { "name" } })]]), 1, true)
        assert.matches("it's is one too many", select(2, judged [[db:enum("clients", "status", { "none", "trial" })]]), 1, true)
    end)

    it("find orphans, empty texts and views that are broken", function()
        server:sql([[SET foreign_key_checks = 0; INSERT INTO orders VALUES (200, 1, 999); CREATE TABLE gone (a INT);
            CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone; CREATE TABLE texts (a INT, b VARCHAR(9));
            INSERT INTO texts VALUES (1, ''), (2, NULL), (NULL, NULL), (3, 'x')]], "app")
        assert.equal("fail", (judged [[db:orphans {}]]))
        assert.equal("pass", (judged [[db:orphans { orders_client_fkey = { at_most = 1 } }]]))
        assert.matches("orders.client_id is 1, expected 0",
            select(2, judged [[db:orphans("orders", "client_id", "clients", "id", {})]]), 1, true)
        assert.matches("broken is not valid", select(2, judged [[db:views { "broken" }]]), 1, true)
        local verdict, text = judged [[db:backfilled("texts", "a", "b")]]
        assert.equal("fail", verdict)
        assert.matches("rows filled with an empty text is 1, expected 0, rows not filled is 1", (text:gsub(";", ",")), 1, true)
        server:sql("DELETE FROM orders WHERE id = 200; DROP VIEW broken; DROP TABLE texts", "app")
    end)

    it("take any name, and tables of other schemas", function()
        server:sql("CREATE DATABASE `o ther`; CREATE TABLE `o ther`.`T ``q'\" ü` (`Ä ö` INT);"
            .. "INSERT INTO `o ther`.`T ``q'\" ü` VALUES (1)")
        assert.equal("pass", (judged [==[db:columns([[o ther.T `q'" ü]], { ["Ä ö"] = "int" })]==]))
        assert.equal("pass", (judged [==[db:row_counts { [ [[o ther.T `q'" ü]] ] = 1 }]==]))
        assert.equal("fail", (judged [[db:columns("CLIENTS", {})]]))
        server:sql("DROP DATABASE `o ther`")
    end)

    it("what the user may not see is unknown, and says what to grant", function()
        server:sql([[CREATE USER few@'127.0.0.1' IDENTIFIED BY 'fewer-rights';
            CREATE USER few@localhost IDENTIFIED BY 'fewer-rights';
            GRANT SELECT ON app.clients TO few@'127.0.0.1'; GRANT SELECT ON app.clients TO few@localhost]])
        local few = ("mysql://few:fewer-rights@127.0.0.1:%d/app"):format(server.port)
        assert.equal("pass", (judged([[db:row_counts { clients = 120 }]], few)))
        local verdict, text = judged([[db:row_counts { orders = 100 }]], few)
        assert.equal("unknown", verdict)
        assert.matches("GRANT SELECT", text, 1, true)
        verdict, text = judged([[db:connections { idle_in_transaction = 0 }]], few)
        assert.equal("unknown", verdict)
        assert.matches("GRANT PROCESS", text, 1, true)
        assert.equal("pass", (judged([[db:connections { share = { below = "90%" } }]], few)))
        assert.equal("unknown", (judged([[db:slow_queries("1s", {})]], few)))
        assert.equal("unknown", (judged([[db:replication_lag {}]], few)))
        server:sql("DROP USER few@'127.0.0.1', few@localhost")
    end)

    it("show of a slow statement neither its values nor more than a line", function()
        local session = t.start { "mariadb", "--no-defaults", "--user=root", "--socket=" .. server.socket, "app",
            input = [[SELECT SLEEP(600), 'secret of somebody', "another one", 4711;]] }
        t.eventually("the session works", function()
            return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(600)%'"
                .. " AND time > 0") == "1"
        end)
        local found = (play.body(url, [[return db:slow_queries "1ms"]]))
        assert.equal(1, found.running)
        assert.equal("SELECT SLEEP(?), ?, ?, ?", found.queries[1].text)
        assert.equal("fail", (judged [[db:slow_queries("1ms", { running = 0 })]]))
        assert.equal("pass", (judged [[db:slow_queries("10m", {})]]))
        session:kill("sigkill")
        session:wait(10)
    end)

    it("know settings, point-in-time recovery and replication", function()
        local verdict, text = judged [[db:settings { point_in_time_recovery = true }]]
        assert.equal("fail", verdict)
        assert.matches("log_bin is off", text, 1, true)
        assert.equal("fail", (judged [[db:settings { ssl = true }]]))
        assert.matches('did you mean "max_connections"', select(2, judged [[db:settings { max_connection = 1 }]]), 1, true)
        verdict, text = judged [[db:replication_lag {}]]
        assert.equal("unknown", verdict)
        assert.matches("ask a replica", text, 1, true)
    end)

    it("tell a schema that has changed, and what of it", function()
        local function digest() return (play.body(url, [[return db:schema_digest()]])) end
        local before = digest()
        server:sql("INSERT INTO clients VALUES (999, 'x', 0, 'none')", "app")
        assert.same(before, digest())
        for sql, key in pairs {
            ["ALTER TABLE clients MODIFY name VARCHAR(101) NOT NULL"] = "table clients",
            ["CREATE INDEX added ON orders (customer_id)"] = "index added on orders",
            ["CREATE OR REPLACE VIEW taskDetailsView AS SELECT id, name AS preparerId FROM clients WHERE id > 1"] =
                "view taskDetailsView",
            ["CREATE TRIGGER new BEFORE INSERT ON orders FOR EACH ROW SET new.id = 5"] = "trigger new",
            ["CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1"] = "routine one",
            ["CREATE EVENT daily ON SCHEDULE EVERY 1 DAY DO SELECT 1"] = "event daily",
        } do
            server:sql(sql, "app")
            local now = digest()
            assert.not_equal(before.digest, now.digest, sql)
            for name, hash in pairs(now.objects) do
                assert.equal(name ~= key, before.objects[name] == hash, sql .. ": " .. name)
            end
            before = now
        end
    end)

    it("refuse what is not there", function()
        for call, message in pairs {
            [ [[db:policies {}]] ] = 'has no "policies"',
            [ [[db:enum("status")]] ] = "db:enum(table, column)",
            [ [[db:orphans("a", "b", "c")]] ] = "or all four",
        } do
            local _, problem = play.body(url, "return " .. call)
            assert.equal("usage", problem.code, call)
            assert.matches(message, problem.message, 1, true)
        end
    end)
end)
