local uv = require "luv"
local t = require "spec.helper"
local leaks = require "spec.world.leaks"
local play = require "spec.modules.pg_play"
local proxy = require "spec.world.proxy"

-- Where a run shows or keeps one of these: { NAME = secret }.
local function leaked(run, secrets)
    local needles = leaks.needles(secrets)
    return leaks.search_tree(run.folder, needles, nil, leaks.search(run.out .. run.err, needles, "the output"))
end

describe("pg", function()
    local server

    setup(function()
        server = t.postgres()
        server:sql [[
            CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, mail text UNIQUE);
            CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people, total numeric CHECK (total >= 0));
            ALTER TABLE people OWNER TO app;
            ALTER TABLE orders OWNER TO app;
            INSERT INTO people SELECT n, 'person ' || n, 'm' || n FROM generate_series(1, 100) n;
            CREATE TYPE mood AS ENUM ('sad', 'so so', 'glad');
        ]]
    end)

    local function value(text, options)
        return play.value(server:url(), text, options)
    end

    local function problem(text, options)
        local result, err = play.body(server:url(), text, options)
        assert.is_nil(result)
        return err
    end

    describe("values", function()
        it("come with their types", function()
            local row = value [=[
                local row = db:one [[SELECT 9223372036854775807 AS big, -9223372036854775808 AS small,
                    2::int2 AS two, 7::oid AS oid,
                    0.1::float8 AS tenth, 0.1::float4 AS single, 1e300 AS far, 5::float8 AS five, 12.50::numeric AS amount,
                    'NaN'::float8 AS nan, '-Infinity'::float8 AS inf, true AS yes, false AS no, NULL::int AS none,
                    '{"a":[1,2.5,null,9007199254740993],"b":{}}'::jsonb AS doc, '[]'::json AS list, '1e400'::jsonb AS huge,
                    'ü'::text AS text, 'x'::char(3) AS padded, 'glad'::mood AS mood, '\x00ff41'::bytea AS bytes,
                    '6e5a4d2c-0b1f-4d5e-8f3a-000000000001'::uuid AS uuid, '10.0.0.0/8'::cidr AS net, '1 day 2:00'::interval AS span,
                    (ROW(1,'a'))::text AS record, ''::text AS empty]]
                row.types = math.type(row.big) .. " " .. math.type(row.five) .. " " .. math.type(row.doc.a[4])
                row.none = row.none == pg.null
                row.bytes = row.bytes == "\0\xffA"
                return row
            ]=]
            local doc = row.doc
            row.doc = nil
            assert.same({ big = math.maxinteger, small = math.mininteger, two = 2, oid = 7, tenth = 0.1, single = 0.1,
                far = "1" .. ("0"):rep(300), five = 5.0, amount = "12.50", nan = "NaN", inf = "-Infinity", yes = true, no = false,
                none = true, list = {}, huge = "1" .. ("0"):rep(400), text = "ü", padded = "x  ", mood = "glad", bytes = true,
                uuid = "6e5a4d2c-0b1f-4d5e-8f3a-000000000001", net = "10.0.0.0/8", span = "1 day 02:00:00",
                record = "(1,a)", empty = "", types = "integer float integer" }, row)
            assert.same({ 1, 2.5, nil, 9007199254740993 }, doc.a)
        end)

        it("of arrays are lists", function()
            assert.same({
                ints = { 1, 2, 3 }, none = {}, texts = { "a", 'q"uo', "b\\s", "co,mma", "NULL", "", "{}" },
                deep = { { 1, 2 }, { 3, 4 } }, moods = { "so so", "glad" }, own = { 5, 6 }, flags = { true, false },
                docs = { { a = 1 }, { 2 } }, times = { "2026-01-02T01:04:05Z" }, null = true,
            }, value [=[
                local row = db:one [[SELECT ARRAY[1,2,3] AS ints, '{}'::int[] AS none,
                    ARRAY['a','q"uo','b\s','co,mma','NULL','','{}'] AS texts, '{{1,2},{3,4}}'::int8[] AS deep,
                    '{so so,glad}'::mood[] AS moods, '[0:1]={5,6}'::int[] AS own, '{t,f}'::bool[] AS flags,
                    ARRAY['{"a":1}','[2]']::jsonb[] AS docs, ARRAY['2026-01-02 03:04:05+02']::timestamptz[] AS times,
                    '{1,NULL}'::int[] AS holes]]
                row.null, row.holes = row.holes[1] == 1 and row.holes[2] == pg.null, nil
                return row
            ]=])
        end)

        it("of time are ISO 8601, whatever the server's own form and zone", function()
            server:sql "ALTER ROLE app SET DateStyle = 'SQL, DMY'; ALTER ROLE app SET TimeZone = 'America/St_Johns'"
            t.finally(function() server:sql "ALTER ROLE app RESET DateStyle; ALTER ROLE app RESET TimeZone" end)
            assert.same({ at = "2026-01-02T06:34:05.123Z", plain = "2026-01-02T03:04:05", day = "2026-02-01",
                far = "infinity", parsed = 1767335645123, zone = "America/St_Johns" }, value [=[
                local row = db:one [[SELECT '2026-01-02 03:04:05.123'::timestamptz AS at,
                    '2026-01-02 03:04:05'::timestamp AS plain, '01/02/2026'::date AS day, 'infinity'::timestamptz AS far,
                    current_setting('TimeZone') AS zone]]
                row.parsed = time.parse(row.at)
                return row
            ]=])
        end)

        it("of numeric are numbers where that is asked for", function()
            assert.same({ a = 12.5, b = 7, c = "12.5" }, value([[
                return { a = db:value "SELECT 12.50", b = db:value "SELECT 7::numeric",
                    c = pg.database(cfg.DATABASE_URL):value "SELECT 12.5" }
            ]], { handle = "{ numeric = 'number' }" }))
        end)

        it("go there as what the statement wants", function()
            assert.same({ int = 5, text = "5", float = "0.1", yes = true, none = true, bytes = true, doc = '{"a": [1, null]}',
                list = { 1, 2 }, found = 2, moods = { "sad", "so so" }, asjson = "[1, 2]", quoted = { 'a"b\\c', "NULL", "" },
                deep = { { 1 }, { 2 } }, nul = "22021", long = 1000000 }, value [=[
                local all = "\0\1\127\128\255\\x41'\"" .. string.char(10, 13)
                return {
                    int = db:value("SELECT $1::int8", 5), text = db:value("SELECT $1::text", 5),
                    float = db:value("SELECT $1::numeric", 0.1), yes = db:value("SELECT $1::bool", true),
                    none = db:one("SELECT $1::int AS x", pg.null).x == pg.null,
                    bytes = db:value("SELECT $1::bytea", all) == all,
                    doc = db:value("SELECT ($1::jsonb)::text", { a = { 1, pg.null } }),
                    list = db:value("SELECT $1::int[]", { 1, 2 }),
                    found = db:value("SELECT count(*) FROM people WHERE id = ANY($1)", { 3, 4 }),
                    moods = db:value("SELECT $1::mood[]", { "sad", "so so" }),
                    asjson = db:value("SELECT ($1::jsonb)::text", { 1, 2 }),
                    quoted = db:value("SELECT $1::text[]", { 'a"b\\c', "NULL", "" }),
                    deep = db:value("SELECT $1::int[]", { { 1 }, { 2 } }),
                    nul = try(db.value, db, "SELECT $1::text", "a\0b").detail.sqlstate,
                    long = db:value("SELECT length($1)", ("x"):rep(1000000)),
                }
            ]=])
        end)

        it("of secrets reach the server, and nobody else", function()
            local _, err, run = play.body(server:url(), [=[
                local token = secret "TOKEN"
                db:exec("INSERT INTO people VALUES (501, 'x', $1)", token)
                local again = try(db.exec, db, "INSERT INTO people VALUES (502, 'x', $1)", token)
                note(again.message)
                db:query("SELECT * FROM people WHERE mail = $1", token)
                db:query("SELECT * FROM people WHERE mail = ANY($1)", { token, "x" })
                try(db.query, db, "SELECT ($1::jsonb)->>'a' || 1/0", { a = token })
                db:exec("DO $$ BEGIN RAISE NOTICE '%', (SELECT mail FROM people WHERE id = 501); END $$")
                db:exec("DELETE FROM people WHERE id = 501")
                error(again.message)
            ]=], { env = { TOKEN = "hush-hush-t0ken\\'é" } })
            assert.matches("duplicate key", err.message)
            assert.same({}, leaked(run, { TOKEN = "hush-hush-t0ken\\'é", PASSWORD = server.password }))
        end)
    end)

    describe("statements", function()
        it("of a check read, and nothing else", function()
            for sql, code in pairs {
                ["SELECT * FROM people FOR UPDATE"] = "read_only",
                ["WITH gone AS (DELETE FROM people RETURNING id) SELECT * FROM gone"] = "read_only",
                ["EXPLAIN ANALYZE DELETE FROM people"] = "read_only",
                ["SELECT setval('numbers', 5)"] = "read_only",
                ["SELECT 1 INTO made"] = "no_columns",
                ["DELETE FROM people"] = "usage",
                ["SELECT 1; DELETE FROM people"] = "syntax",
                ["/* SELECT */ COPY (SELECT 1) TO PROGRAM 'true'"] = "usage",
                ["/* /* */ SELECT 1 */ DROP TABLE people"] = "usage",
            } do
                server:sql "CREATE SEQUENCE IF NOT EXISTS numbers; GRANT ALL ON SEQUENCE numbers TO app"
                assert.equal(code, problem(("db:query(%q)"):format(sql)).code, sql)
            end
            assert.equal("100", server:sql "SELECT count(*) FROM people")
        end)

        it("do not run where a check's function writes", function()
            server:sql "CREATE OR REPLACE FUNCTION sly() RETURNS int LANGUAGE sql AS 'DELETE FROM people; SELECT 1'"
            assert.equal("read_only", problem([[db:query "SELECT sly()"]]).code)
            assert.equal("100", server:sql "SELECT count(*) FROM people")
        end)

        it("that begin with comments and brackets are read", function()
            assert.equal(3, value [[
                return db:value("-- a\n/* b /* c */ */ ( (SELECT 1)) UNION SELECT 2 ORDER BY 1 DESC LIMIT 1") + 1]])
            assert.equal("UTF8", value [[return db:value "SHOW server_encoding"]])
        end)

        it("say what is wrong, and where", function()
            local err = problem [[db:query("SELECT name,\n  nane\nFROM people WHERE id = $1", 1)]]
            assert.equal("undefined_column", err.code)
            assert.matches('column "nane" does not exist %(42703%) in: .*>>>nane.*name', err.message)
            assert.same({ sqlstate = "42703", position = 16 },
                { sqlstate = err.detail.sqlstate, position = err.detail.position })
            err = problem [[db:exec "INSERT INTO people VALUES (1, 'x', 'y')"]]
            assert.same({ "duplicate", "people_pkey", "people" }, { err.code, err.detail.constraint, err.detail.table })
            err = problem [[db:exec "SELEKT 'ü', 1"]]
            assert.matches("in: >>>SELEKT", err.message)
            err = problem(([[db:exec "%s FROMM"]]):format("SELECT '" .. ("ü"):rep(500) .. "' AS x"))
            assert.is_true(#problem(([[db:exec("SELECT '%s' FROM FROM")]]):format(("x"):rep(100000))).detail.statement < 5000)
            assert.is_truthy(err.message:find("in: … ü", 1, true) and err.message:find("üü' AS x >>>FROMM", 1, true), err.message)
        end)

        it("have codes for what a playbook may tell apart", function()
            for sql, code in pairs {
                ["INSERT INTO orders VALUES (1, 999, 1)"] = "foreign_key", ["INSERT INTO orders VALUES (1, 1, -1)"] = "check",
                ["INSERT INTO people (id) VALUES (900)"] = "not_null", ["SELECT * FROM nowhere"] = "undefined_table",
                ["SELECT nothing()"] = "undefined_function", ["CREATE TABLE people ()"] = "exists",
                ["SELECT 1/0"] = "sql", ["COPY people FROM STDIN"] = "usage", ["COPY people TO STDOUT"] = "usage",
                ["SELECT * FROM pg_authid"] = "access_denied", ["BEGIN"] = "usage", ["CREATE TABLE x (a nonsense)"] = "sql",
            } do
                assert.equal(code, problem(("db:exec(%q)"):format(sql)).code, sql)
            end
        end)

        it("want as many parameters as they have", function()
            assert.equal("parameters", problem([[db:query("SELECT $1::int", 1, 2)]]).code)
            assert.equal("parameters", problem([[db:query "SELECT $1::int"]]).code)
            assert.matches("parameter 2 is nil: pg.null", problem([[db:query("SELECT $1::int, $2::int", 1, nil)]]).message)
        end)

        it("with two columns of one name are refused", function()
            assert.equal("columns", problem([[db:query "SELECT 1 AS a, 2 AS a"]]).code)
        end)

        it("tell what they changed, and what the server remarked", function()
            assert.same({ affected = 3, rows = { { id = 601 }, { id = 602 }, { id = 603 } }, notices = {} }, value [[
                return db:exec "INSERT INTO people SELECT n, 'x' FROM generate_series(601, 603) n RETURNING id"]])
            local result = value [[return db:exec "DO $$ BEGIN RAISE NOTICE 'hello %', 1; RAISE WARNING 'careful'; END $$"]]
            assert.same({ "NOTICE: hello 1", "WARNING: careful" }, result.notices)
            assert.equal(3, value([[return db:exec "DELETE FROM people WHERE id > 600"]]).affected)
        end)

        it("of a transaction are committed, or none of them", function()
            local result = value [[
                local function failing(tx)
                    tx:exec "DELETE FROM orders"
                    pcall(tx.exec, tx, "INSERT INTO people VALUES (1, 'x')")
                end
                return {
                    try(db.transaction, db, failing).code,
                    try(db.transaction, db, function(tx) tx:exec "DELETE FROM people"; error "no" end).message,
                    try(db.transaction, db, function(tx) tx:exec "COMMIT" end).code,
                    try(db.transaction, db, function(tx) tx:exec "VACUUM" end).detail.sqlstate,
                    db:transaction(function(tx)
                        tx:exec("UPDATE people SET name = $1 WHERE id = 1", "changed")
                        local seen = tx:one "SELECT name FROM people WHERE id = 1"
                        tx:exec "UPDATE people SET name = 'person 1' WHERE id = 1"
                        return seen
                    end) }]]
            assert.same({ "aborted", "usage", "25001", { name = "changed" } }, { result[1], result[3], result[4], result[5] })
            assert.matches("no$", result[2])
            assert.equal("100", server:sql "SELECT count(*) FROM people")
        end)

        it("of a transaction without a marker are not said to be committed when they were not", function()
            server:sql "REVOKE ALL ON rollouthost.effects FROM app; ALTER TABLE rollouthost.effects OWNER TO postgres"
            t.finally(function() server:sql "ALTER TABLE rollouthost.effects OWNER TO app" end)
            assert.equal("aborted", problem([[db:transaction(function(tx) pcall(tx.exec, tx, "SELECT 1/0") end)]]).code)
        end)

        it("of a role that may not make the marker's table run without it, and are a person's to decide on", function()
            server:sql "REVOKE CREATE ON DATABASE app FROM app; CREATE ROLE poor LOGIN"
            server:sql(("ALTER ROLE poor PASSWORD '%s'; GRANT ALL ON people TO poor"):format(server.password))
            local url = server:url(nil, "poor")
            assert.equal(1, play.value(url, [[return db:exec("UPDATE people SET name = name WHERE id = $1", 1).affected]]))
            local path, folder = t.playbook([[
                local pg = require "rollout.pg"
                playbook "spec" { environments = { "test" } }
                local db = pg.database(secret "DATABASE_URL")
                step("it", function() db:exec "SELECT pg_sleep(56)" end)]])
            local run = t.start_host { path, state = folder .. "/state", cwd = folder, env = { DATABASE_URL = url } }
            t.eventually("the statement", function() return run.code or server:running "%sleep(56)%" == 1 end)
            run:kill("sigkill")
            run:wait()
            local again = t.host { "resume", state = folder .. "/state", cwd = folder, env = { DATABASE_URL = url } }
            assert.equal(7, again.code, again.out .. again.err)
        end)

        it("that no transaction can hold run alone", function()
            value [[db:exec "VACUUM people"
                db:exec "CREATE INDEX CONCURRENTLY later ON orders (total)"; db:exec "DROP INDEX CONCURRENTLY later"
                db:exec "CREATE DATABASE other_one"; db:exec "DROP DATABASE other_one"; return 1]]
        end)

        it("bring a hundred thousand rows, and a large value", function()
            assert.same({ 100000, 5000050000, 30000000 }, value [[
                local rows, sum = db:query "SELECT n, n::text AS t FROM generate_series(1, 100000) n", 0
                for _, row in ipairs(rows) do sum = sum + row.n end
                return { #rows, sum, db:transaction(function(tx) return #tx:value "SELECT repeat('x', 30000000)" end) }]])
        end)

        it("of forty megabytes go there", function()
            assert.equal(40000000, value [[return db:value("SELECT length($1)", ("x"):rep(40000000))]])
            assert.equal(40000000, value [[return db:value("SELECT length('" .. ("y"):rep(40000000) .. "')")]])
        end)

        it("whose rows do not fit are given up", function()
            local err = problem [[db:query "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 100000)"]]
            assert.equal("too_large", err.code)
        end)
    end)

    describe("time", function()
        it("that is over leaves a session for the next statement", function()
            local result = value([[
                local err = try(db.query, db, "SELECT pg_sleep(60), 1 AS x")
                return { err.code, err.message, db:value "SELECT 7" }
            ]], { handle = "{ timeout = '300ms' }" })
            assert.same({ "timeout", 7, 0 }, { result[1], result[3], server:running "%pg_sleep(60)%" })
            assert.matches("0.3 s.*SELECT pg_sleep%(60%)", result[2])
        end)

        it("of a step undoes the transaction that it interrupts", function()
            local run = t.play([[
                local pg = require "rollout.pg"
                playbook "spec" { environments = { "test" } }
                local db = pg.database(secret "DATABASE_URL")
                rollback("back", function()
                    step("undo", function() db:exec "UPDATE people SET name = 'undone' WHERE id = 1" end)
                end)
                step("it", { timeout = "1s" }, function()
                    db:transaction(function(tx)
                        tx:exec "DELETE FROM people"
                        tx:exec "SELECT pg_sleep(57)"
                    end)
                end)
            ]], { env = { DATABASE_URL = server:url() } })
            assert.equal(3, run.code, run.err)
            assert.same({ 0, "100", "undone" }, { server:running "%sleep(57)%", server:sql "SELECT count(*) FROM people",
                server:sql "SELECT name FROM people WHERE id = 1" })
        end)

        it("of a step ends the statement on the server", function()
            local run = t.play([[
                local pg = require "rollout.pg"
                playbook "spec" { environments = { "test" } }
                local db = pg.database(secret "DATABASE_URL")
                step("it", { timeout = "1s" }, function() db:exec "SELECT pg_sleep(59)" end)
            ]], { env = { DATABASE_URL = server:url() } })
            assert.equal(1, run.code)
            assert.equal(0, server:running "%sleep(59)%")
        end)

        it("that is over ends the session, where the server cannot be told", function()
            local deaf
            local port = proxy.start(server.port, function(bytes)
                deaf = deaf or bytes:find("SELECT pg_sleep(58)", 1, true)
                if bytes:find("\x04\xd2\x16\x2e", 1, true) then -- the cancel request's code
                    return "hold"
                end
            end).port
            local began = uv.hrtime()
            local result = play.value(server:url():gsub("@127%.0%.0%.1:%d+", "@127.0.0.1:" .. port) .. "?sslmode=disable", [[
                return { try(db.value, db, "SELECT pg_sleep(58)").code, db:value "SELECT 1" }
            ]], { handle = "{ timeout = '200ms' }" })
            assert.same({ "timeout", 1 }, result)
            assert.is_true(deaf and uv.hrtime() - began < 20e9)
        end)

        it("of a server's own is told apart", function()
            server:sql "ALTER ROLE app SET statement_timeout = '200ms'"
            t.finally(function() server:sql "ALTER ROLE app RESET statement_timeout" end)
            assert.matches("statement timeout.*57014", problem([[db:exec "SELECT pg_sleep(30)"]]).message)
        end)

        it("is waited for a lock", function()
            local other = t.start { "psql", "-Xq", "-h", server.socket, "-p", tostring(server.port), "-U", "postgres", "app",
                input = true }
            other:write "BEGIN; LOCK people; SELECT 'locked';\n"
            other:wait_for "locked"
            server:sql "ALTER ROLE app SET lock_timeout = '200ms'"
            assert.equal("lock_timeout", problem([[db:exec "DELETE FROM people WHERE id = 99"]]).code)
            server:sql "ALTER ROLE app RESET lock_timeout"
            other:close_input()
            other:wait()
        end)
    end)

    describe("a session", function()
        it("that the server ended while it was idle is replaced for a read", function()
            assert.same({ true, 1 }, value([[
                local first = db:value "SELECT pg_backend_pid()"
                local admin = pg.database { socket = "]] .. server.socket .. [[", port = ]] .. server.port .. [[,
                    user = "postgres" }
                admin:query("SELECT pg_terminate_backend($1)", first)
                return { db:value "SELECT pg_backend_pid()" ~= first, db:value "SELECT 1" }]]))
        end)

        it("that ends under a statement says so", function()
            local err = problem [[db:exec "SELECT pg_terminate_backend(pg_backend_pid())"]]
            assert.equal("lost_connection", err.code)
            assert.equal("57P01", err.detail.sqlstate)
        end)

        it("is not had: nobody listens, wrong password, no such database", function()
            local _, err = play.body(("postgresql://app:pass-word@127.0.0.1:%d/app"):format(t.free_port()),
                [[db:query "SELECT 1"]])
            assert.equal("connect", err.code)
            assert.matches("Connection refused. Is the server running, and can it be reached from here%?$", err.message)
            _, err = play.body(server:url():gsub(":[^:]*@", ":wrong-password@"), [[db:query "SELECT 1"]])
            assert.same({ "access_denied", "28P01" }, { err.code, err.detail.sqlstate })
            _, err = play.body(server:url "nowhere", [[db:query "SELECT 1"]])
            assert.same({ "unknown_database", "3D000" }, { err.code, err.detail.sqlstate })
            _, err = play.body("postgresql://u@no-such-host.invalid/x", [[db:query "SELECT 1"]])
            assert.equal("connect", err.code)
            assert.matches("no%-such%-host%.invalid cannot be resolved", err.message)
        end)

        it("is not had from what is no PostgreSQL", function()
            local greets = t.serve(function(client, bytes)
                if not bytes then client:write "J\0\0\0\x0a5.5.5-10.11\0" end
            end)
            local answers = t.serve(function(client, bytes)
                if bytes then client:write "HTTP/1.1 400 Bad Request\r\n\r\n" end
            end)
            local plain = "/x?sslmode=disable"
            for _, url in ipairs { greets .. "/x", answers .. "/x", greets .. plain, answers .. plain } do
                local _, err = play.body("postgresql://app:pass-word@127.0.0.1:" .. url, [[db:query "SELECT 1"]],
                    { handle = "{ connect_timeout = '5s' }" })
                assert.equal("connect", err.code, err.message)
                assert.matches("what listens there is no PostgreSQL", err.message)
            end
        end)

        it("has the password that ~/.pgpass knows, where the URL has none", function()
            local home = t.temp()
            t.write(home .. "/.pgpass", ("127.0.0.1:%d:app:app:%s\n"):format(server.port, server.password), "600")
            local url = server:url():gsub(":[^:]*@", "@")
            assert.equal(1, play.value(url, [[return db:value "SELECT 1"]], { env = { HOME = home } }))
            local _, err = play.body(url, [[return db:value "SELECT 1"]], { env = { HOME = t.temp() } })
            assert.equal("access_denied", err.code)
            assert.matches("nor has ~/.pgpass", err.message)
        end)

        it("is not had while the server has too many, or is starting", function()
            server:sql "ALTER ROLE app CONNECTION LIMIT 0"
            assert.equal("too_many_connections", problem([[db:query "SELECT 1"]]).code)
            server:sql "ALTER ROLE app CONNECTION LIMIT -1"
            local port = t.serve(function(client, bytes)
                if bytes then
                    local text = "SFATAL\0VFATAL\0C57P03\0Mdas Datenbanksystem startet\0\0"
                    client:write("E" .. (">I4"):pack(#text + 4) .. text)
                    client:close()
                end
            end)
            local url = ("postgresql://app:pass-word@127.0.0.1:%d/app?sslmode=disable"):format(port)
            local _, err = play.body(url, [[db:query "SELECT 1"]])
            assert.equal("starting", err.code)
            assert.matches("Datenbanksystem startet.*try again", err.message)
        end)

        it("is not waited for longer than is said", function()
            local port = t.serve(function() end)
            local began = uv.hrtime()
            local _, err = play.body(("postgresql://app:pass-word@127.0.0.1:%d/app"):format(port), [[db:query "SELECT 1"]],
                { handle = "{ connect_timeout = '400ms' }" })
            assert.equal("timeout", err.code)
            assert.is_true(uv.hrtime() - began < 5e9)
        end)

        it("is not waited for when its step's time is up", function()
            local port = t.serve(function() end)
            local began = uv.hrtime()
            local run = t.play([[
                local pg = require "rollout.pg"
                playbook "spec" { environments = { "test" } }
                local db = pg.database("postgresql://app@127.0.0.1:]] .. port .. [[/app", { connect_timeout = "30s" })
                step("it", { timeout = "500ms" }, function() db:exec "SELECT 1" end)]])
            assert.equal(1, run.code, run.err)
            assert.is_true(uv.hrtime() - began < 10e9)
        end)

        it("comes from the first host that answers", function()
            local silent = t.serve(function() end)
            local url = server:url():gsub("127.0.0.1:%d+", ("127.0.0.1:%d,127.0.0.1:%d,localhost:%d"):format(
                t.free_port(), silent, server.port))
            assert.equal(1, play.value(url, [[return db:value "SELECT 1"]], { handle = "{ connect_timeout = '4s' }" }))
        end)

        it("is not what the environment says", function()
            assert.same({ "rollouthost", "app" }, value([[
                return { db:value "SHOW application_name", db:value "SELECT current_database()" }]], { env = {
                PGHOST = "elsewhere.invalid", PGHOSTADDR = "127.0.0.2", PGPORT = "1", PGUSER = "nobody", PGDATABASE = "none",
                PGPASSWORD = "wrong-one", PGSSLMODE = "verify-full", PGOPTIONS = "-cgeqo=nonsense", PGSERVICE = "nowhere",
                PGTZ = "Nowhere/Land",
                PGAPPNAME = "other", PGCLIENTENCODING = "LATIN1", PGTARGETSESSIONATTRS = "standby", PGREQUIREPEER = "x" } }))
        end)

        it("is one that may write, where the URL asks for that", function()
            local standby = t.postgres()
            standby:sql "ALTER DATABASE app SET default_transaction_read_only = on"
            local url = server:url():gsub("127.0.0.1:%d+", ("127.0.0.1:%d,127.0.0.1:%d"):format(standby.port, server.port))
            assert.equal(server.port, play.value(url .. "?target_session_attrs=read-write",
                [[return tonumber(db:value "SHOW port")]]))
        end)

        it("comes over a socket, and by SQLAlchemy's URL", function()
            assert.equal(1, play.value(("postgresql://app:%s@/app?host=%s&port=%d"):format(
                server.password:gsub("&", "%%26"), server.socket, server.port), [[return db:value "SELECT 1"]]))
            assert.equal(1, play.value(server:url():gsub("^postgresql", "postgresql+psycopg2"), [[return db:value "SELECT 1"]]))
        end)

        it("is not waited for while a name is looked up for ever", function()
            local folder = t.temp()
            t.write(folder .. "/slow.c", [=[
                #include <netdb.h>
                #include <unistd.h>
                int getaddrinfo(const char *a, const char *b, const struct addrinfo *c, struct addrinfo **d)
                { (void)a, (void)b, (void)c, (void)d; sleep(4); return EAI_AGAIN; }]=])
            assert.equal(0, t.run { "cc", "-shared", "-fPIC", "-o", folder .. "/slow.so", folder .. "/slow.c" }.code)
            local result = play.value("postgresql://app@db.example/app", [[
                local began = time.now()
                local err = try(db.query, db, "SELECT 1")
                return { err.code, err.message, time.now() - began < 2000 }
            ]], { handle = "{ connect_timeout = '300ms' }", env = { LD_PRELOAD = folder .. "/slow.so",
                ASAN_OPTIONS = "verify_asan_link_order=0" } })
            assert.same({ "timeout", true }, { result[1], result[3] })
            assert.matches("db%.example was not resolved in time", result[2])
        end)

        it("has the schema that Prisma's URL names", function()
            server:sql [[CREATE SCHEMA "my sh""op" AUTHORIZATION app; SET ROLE app; CREATE TABLE "my sh""op".here (x int)]]
            assert.equal(0, play.value(server:url() .. "?schema=my%20sh%22op&connection_limit=1",
                [[return db:value "SELECT count(*) FROM here"]]))
        end)
    end)

    it("refuses a URL with the playbook's line, and without the password", function()
        for url, why in pairs {
            ["mysql://u:hush-hush@h/x"] = "begins with postgresql://",
            ["postgresql://u:hush-hush@h:0/x"] = "not a number between 1 and 65535",
            ["postgresql://u:hush-hush@h/x?sslmode=on"] = 'sslmode=on: say',
        } do
            local run = t.play(([[local pg = require "rollout.pg"
                playbook "spec" { environments = { "test" } }
                pg.database(%q)]]):format(url))
            assert.equal(2, run.code)
            assert.matches("playbook.lua:3: pg: [^\n]*" .. why:gsub("%p", "%%%0"), run.out .. run.err)
            assert.is_nil((run.out .. run.err):find("hush", 1, true))
        end
    end)

    it("bears any password, and any name of a database", function()
        local odd = [[a@b:c/d?e#f%41 g'h"i\j&k=l+m;n,o]] .. "ü€"
        local name = [[My "odd" d'b ü\/?#]]
        local other = t.postgres { password = odd, database = name }
        local _, err, run = play.body(other:url(), [[return db:value "SELECT current_database()"]])
        assert.is_nil(err)
        assert.equal(name, (play.value(other:url(), [[return db:value "SELECT current_database()"]])))
        assert.same({}, leaked(run, { PASSWORD = odd }))
    end)

    it("speaks UTF-8 with databases that do not", function()
        server:sql("CREATE DATABASE latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 OWNER app", "postgres")
        server:sql("CREATE DATABASE bytes ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 OWNER app", "postgres")
        local text = [[
            db:exec "CREATE TABLE x (t text, b bytea)"
            db:exec("INSERT INTO x VALUES ($1, $2)", "grün", "ü\0")
            return { db:value "SELECT t FROM x", db:value "SELECT octet_length(t) FROM x", db:value "SELECT b FROM x" == "ü\0",
                db:value "SELECT 'ü'", (try(db.exec, db, "INSERT INTO x VALUES ($1)", "€") or {}).code }
        ]]
        assert.same({ "grün", 4, true, "ü", "sql" }, play.value(server:url "latin", text))
        assert.same({ "grün", 5, true, "ü" }, play.value(server:url "bytes", text))
    end)
end)
