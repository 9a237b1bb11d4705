local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("mysql", function()
    local server, url

    setup(function()
        server = t.mariadb { password = [[p"a/ss#@:%?& w]] .. "ord" }
        url = server:url()
        server:sql([[CREATE TABLE things (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200), data LONGBLOB, n DOUBLE,
            UNIQUE (name))]], "app")
    end)

    local function body(text, options)
        return play.body(url, text, options)
    end

    local function fails(code, text, options)
        local value, problem, result = body(text, options)
        assert.is_nil(value)
        assert.equal(code, problem.code, problem.message)
        return problem, result
    end

    describe("values", function()
        it("come with their type", function()
            local row = body [==[
                db:exec "CREATE OR REPLACE TABLE flags (few BIT(5), many BIT(64))"
                db:exec("INSERT INTO flags VALUES (?, ?)", 5, -1)
                local row = db:one [[SELECT 9007199254740993 AS i, -1 AS minus, 18446744073709551615 AS unsigned_,
                1.50 AS decimal_, CAST(0.1 AS FLOAT) AS f, 1e300 AS d, TRUE AS yes, few, many,
                'ü日' AS text_,
                CAST('2026-01-02 03:04:05.678' AS DATETIME(3)) AS dt, CAST('2026-01-02' AS DATE) AS day_,
                CAST('-12:00:01' AS TIME) AS time_, '' AS empty FROM flags]]
                row.i = row.i == 9007199254740993
                return row
            ]==]
            assert.same({ i = true, minus = -1, unsigned_ = "18446744073709551615", decimal_ = "1.50", f = 0.1,
                d = 1e300, yes = 1, few = 5, many = "18446744073709551615", text_ = "ü日", dt = "2026-01-02 03:04:05.678",
                day_ = "2026-01-02",
                time_ = "-12:00:01", empty = "" }, row)
        end)

        it("go in as parameters, byte for byte", function()
            local value = body [==[
                local all = {}
                for i = 0, 255 do all[#all + 1] = string.char(i) end
                local bytes, name = table.concat(all), [[ü日 ' " \ ` % _ ; -- /* ? ]] .. "\0\n\26"
                db:exec("INSERT INTO things (name, data, n) VALUES (?, ?, ?)", name, bytes, 0.1 + 0.2)
                local row = db:one("SELECT * FROM things WHERE name = ?", name)
                return row.name == name and row.data == bytes and row.n == 0.1 + 0.2
            ]==]
            assert.is_true(value)
        end)

        it("tell NULL, booleans and big integers apart", function()
            local value = body [[
                local row = db:one("SELECT ? AS a, ? AS b, ? AS c, ? AS d", mysql.null, true, 9223372036854775807, -0.5)
                return { row.a == mysql.null, row.b, row.c, row.d, db:value "SELECT NULL" == nil }
            ]]
            assert.same({ true, 1, 9223372036854775807, -0.5, true }, value)
        end)

        it("are refused where they cannot be meant", function()
            assert.matches("parameter 2 is nil: mysql.null", fails("usage", [[db:query("SELECT ?, ?", 1, nil)]]).message)
            assert.matches("1 placeholder, and 2 values", fails("parameters", [[db:query("SELECT ?", 1, 2)]]).message)
            assert.matches("parameter 1 is a table", fails("usage", [[db:query("SELECT ?", {})]]).message)
            assert.matches("two columns are called a", fails("columns", [[db:query "SELECT 1 AS a, 2 AS a"]]).message)
        end)
    end)

    describe("query", function()
        it("gives rows by name, one row or none, one value or none", function()
            local value = body [[return { db:query "SELECT seq AS n FROM seq_1_to_3", #db:query "SELECT 1 FROM things WHERE 0",
                db:one "SELECT id FROM things WHERE 0" == nil, db:value "SELECT id FROM things WHERE 0" == nil,
                db:value "SELECT COUNT(*) FROM seq_1_to_5" }]]
            assert.same({ { { n = 1 }, { n = 2 }, { n = 3 } }, 0, true, true, 5 }, value)
        end)

        it("says when there is more than it was asked for", function()
            fails("rows", [[return db:one "SELECT seq FROM seq_1_to_2"]])
            fails("rows", [[return db:value "SELECT 1 AS a, 2 AS b"]])
        end)

        it("never writes", function()
            server:sql("CREATE OR REPLACE TABLE precious (id INT); INSERT INTO precious VALUES (1);"
                .. "CREATE OR REPLACE SEQUENCE counter;"
                .. "\nDELIMITER //\nCREATE OR REPLACE FUNCTION sly() RETURNS INT MODIFIES SQL DATA"
                .. " BEGIN DELETE FROM precious; RETURN 1; END//", "app")
            for _, sql in ipairs { "DROP TABLE precious", "/*!50000 DROP TABLE precious */", "DELETE FROM precious",
                "DELETE FROM precious RETURNING id", "/* SELECT */ TRUNCATE precious", "-- SELECT\nDROP TABLE precious",
                "CALL sly()", "SET GLOBAL max_connections = 1" } do
                fails("usage", ("db:query %q"):format(sql))
            end
            fails("read_only", [[db:query "SELECT sly()"]])
            fails("read_only", [[db:query "SELECT NEXTVAL(counter)"]])
            fails("no_columns", ("db:query %q"):format("SELECT 1 INTO OUTFILE '" .. t.temp() .. "/out'"))
            assert.equal("1", server:sql("SELECT COUNT(*) FROM precious", "app"))
        end)

        it("bears comments, brackets, SHOW and WITH", function()
            local value = body [==[return { db:value "-- one\n# two\n/* three */ (SELECT 1)",
                #db:query "SHOW TABLES LIKE 'things'", db:value "WITH a AS (SELECT 2 AS b) SELECT b FROM a",
                db:one("SHOW CREATE TABLE things")["Table"] }]==]
            assert.same({ 1, 1, 2, "things" }, value)
        end)

        it("ends at its timeout, and the server ends it too", function()
            local problem = fails("timeout", [[mysql.database(cfg.DATABASE_URL, { timeout = "300ms" }):query "SELECT SLEEP(60)"]])
            assert.matches("not finished within 0.3 s, and cancelled: SELECT SLEEP", problem.message)
            t.eventually("the statement ends", function()
                return server:sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'") == "0"
            end)
        end)

        it("stays usable after a timeout", function()
            assert.equal(7, (body [[
                local quick = mysql.database(cfg.DATABASE_URL, { timeout = "200ms" })
                local ok = pcall(quick.query, quick, "SELECT SLEEP(60)")
                return ok and 0 or quick:value "SELECT 7"
            ]]))
        end)

        it("refuses more rows than fit", function()
            local problem = fails("too_large", [[db:query "SELECT REPEAT('x', 1000000) AS x FROM seq_1_to_100"]])
            assert.matches("more than 64 MiB", problem.message)
        end)
    end)

    describe("exec", function()
        it("tells what it did", function()
            local value = body [[
                db:exec "CREATE OR REPLACE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"
                local first = db:exec("INSERT INTO counted (v) VALUES (?), (?)", 1, 2)
                local second = db:exec "UPDATE counted SET v = 9 WHERE v = 1"
                return { first.affected, first.insert_id, second.affected, second.insert_id == nil,
                    db:exec("DELETE FROM counted WHERE v = 2 RETURNING id").rows }
            ]]
            assert.same({ 2, 1, 1, true, { { id = 2 } } }, value)
        end)

        it("runs a procedure with several results", function()
            server:sql("DELIMITER //\nCREATE OR REPLACE PROCEDURE several() BEGIN SELECT 1 AS a; SELECT 2 AS b; END//", "app")
            assert.same({ { { a = 1 } }, 3 }, (body [[return { db:exec("CALL several()").rows, db:value "SELECT 3" }]]))
        end)

        it("leaves no transaction open", function()
            assert.matches("use db:transaction", fails("usage", [[db:exec "START TRANSACTION"]]).message)
            assert.matches("use db:transaction", fails("usage", [[db:exec "SET autocommit = 0"]]).message)
        end)

        it("names what went wrong, with the statement", function()
            server:sql("INSERT IGNORE INTO things (name) VALUES ('twice')", "app")
            local problem = fails("duplicate", [[db:exec("INSERT INTO things (name) VALUES (?)", "twice")]])
            assert.equal(1062, problem.detail.errno)
            assert.equal("23000", problem.detail.sqlstate)
            assert.equal("INSERT INTO things (name) VALUES (?)", problem.detail.statement)
            assert.equal(1064, fails("sql", [[db:exec "SELEC 1"]]).detail.errno)
        end)
    end)

    describe("transaction", function()
        it("commits what the function did, and returns what it returned", function()
            local value = body [[
                db:exec "CREATE OR REPLACE TABLE moved (id INT)"
                local seen = db:transaction(function(tx)
                    tx:exec("INSERT INTO moved VALUES (?)", 1)
                    return tx:value "SELECT COUNT(*) FROM moved"
                end)
                return { seen, db:value "SELECT COUNT(*) FROM moved" }
            ]]
            assert.same({ 1, 1 }, value)
        end)

        it("rolls back on an error", function()
            local value = body [[
                db:exec "CREATE OR REPLACE TABLE moved (id INT)"
                local ok = pcall(db.transaction, db, function(tx)
                    tx:exec "INSERT INTO moved VALUES (1)"
                    error "no"
                end)
                return { ok, db:value "SELECT COUNT(*) FROM moved" }
            ]]
            assert.same({ false, 0 }, value)
        end)

        it("refuses what would end it by itself", function()
            local problem = fails("usage", [[db:transaction(function(tx) tx:exec "CREATE OR REPLACE TABLE y (id INT)" end)]])
            assert.matches("ended the transaction by itself", problem.message)
        end)
    end)

    describe("connecting", function()
        local function at(address, text)
            local _, problem = play.body(address, text or [[db:query "SELECT 1"]])
            return problem
        end

        it("says that the password is wrong, and not which", function()
            local problem = at(("mysql://app:wrong-secret@127.0.0.1:%d/app"):format(server.port))
            assert.equal("access_denied", problem.code)
            assert.is_nil(problem.message:find("wrong-secret", 1, true))
        end)

        it("says that nobody listens, that the name is unknown, that the database is", function()
            assert.equal("connect", at(("mysql://app:secret-1@127.0.0.1:%d/app"):format(t.free_port())).code)
            assert.equal("connect", at("mysql://app:secret-1@no-such-host.invalid/app").code)
            local problem = at(server:url "nowhere")
            assert.equal("unknown_database", problem.code)
            assert.matches("nowhere", problem.message)
        end)

        it("demands a certificate from another host, and where it is asked to", function()
            assert.equal("tls", at(url .. "?ssl-mode=required").code)
        end)

        it("gives up on a server that says nothing", function()
            local silent = t.serve(function() end)
            local problem = at(("mysql://app:secret-1@127.0.0.1:%d/app"):format(silent),
                [[mysql.database(cfg.DATABASE_URL, { connect_timeout = "1s" }):query "SELECT 1"]])
            assert.equal("lost_connection", problem.code)
        end)

        it("keeps one connection for a body, and a new one when it was lost", function()
            local value = body [[
                local first = db:value "SELECT CONNECTION_ID()"
                local again = db:value "SELECT CONNECTION_ID()" == first
                db:exec("KILL " .. first)
                return { again, db:value "SELECT CONNECTION_ID()" ~= first }
            ]]
            assert.same({ true, true }, value)
        end)

        it("names a database without its password", function()
            local value, _, result = body [[return tostring(db)]]
            assert.equal(("mysql app@127.0.0.1:%d/app"):format(server.port), value)
            assert.is_nil(result.out:find(server.password, 1, true))
        end)

        it("refuses what is no database", function()
            for address, why in pairs { ["postgres://x/y"] = "begins with mysql://", ["mysql:///x"] = "no host",
                ["mysql://h:0/x"] = "not between", ["mysql://u:%zz12345@h/x"] = "broken %-escape" } do
                local result = t.play(([[
                    playbook "spec" { environments = { "test" } }
                    local db = require("rollout.mysql").database(%q)
                ]]):format(address))
                assert.is_true(result.code == 1 or result.code == 2, address)
                assert.matches(why, result.out .. result.err, 1, true)
            end
        end)
    end)
end)
