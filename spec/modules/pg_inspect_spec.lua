local t = require "spec.helper"
local play = require "spec.modules.pg_play"

-- What JobRun's migration makes of its database, and what was there before.
local BEFORE = [[
CREATE TABLE clients (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE onboarding_states (id text PRIMARY KEY, customer_id text);
INSERT INTO clients SELECT 'c' || i, 'client ' || i FROM generate_series(1, 120) AS i;
INSERT INTO onboarding_states SELECT 'o' || i, CASE WHEN i % 10 > 0 THEN 'c' || i END FROM generate_series(1, 100) AS i;
CREATE VIEW "taskDetailsView" AS SELECT id, name AS "preparerId" FROM clients;
]]
local MIGRATION = [[
CREATE TYPE "BillingStatus" AS ENUM ('none', 'trial', 'active', 'canceled', 'past_due');
ALTER TABLE clients ADD "onboardingComplete" boolean NOT NULL DEFAULT false, ADD "outboundPaused" boolean NOT NULL DEFAULT false,
    ADD "aiDisabled" boolean NOT NULL DEFAULT false, ADD "billingStatus" "BillingStatus" NOT NULL DEFAULT 'none',
    ADD "trialUsedAt" timestamptz(3);
ALTER TABLE onboarding_states ADD "clientId" text;
UPDATE onboarding_states SET "clientId" = customer_id;
ALTER TABLE onboarding_states ADD CONSTRAINT "onboarding_states_clientId_fkey" FOREIGN KEY ("clientId") REFERENCES clients (id),
    ADD CONSTRAINT "onboarding_states_clientId_key" UNIQUE ("clientId");
CREATE INDEX "clients_guards_idx" ON clients ("outboundPaused", "aiDisabled");
]]

-- The checklists' lines, as a playbook says them.
local CHECKLISTS = {
    { "right database", [[db:version { database = "app", major = { at_least = 15 } }]] },
    { "new columns", [[db:columns("clients", { "onboardingComplete", "outboundPaused", "aiDisabled",
        billingStatus = { type = "BillingStatus", nullable = false, default = "none" }, trialUsedAt = "timestamptz(3)" })]] },
    { "backfill", [[db:backfilled("onboarding_states", "customer_id", "clientId", { from = 90 })]] },
    { "enum", [[db:enum("BillingStatus", { "none", "trial", "active", "canceled", "past_due" })]] },
    { "constraints", [[db:constraints("onboarding_states", { "onboarding_states_clientId_key",
        onboarding_states_clientId_fkey = { kind = "foreign key", references = "clients(id)" } })]] },
    { "guard indexes", [[db:indexes("clients", { { "outboundPaused" }, "clients_guards_idx" })]] },
    { "every index is valid", [[db:indexes {}]] },
    { "foreign keys hold", [[{ db:constraints {}, db:orphans {} }]] },
    { "views", [[db:views { taskDetailsView = { "preparerId" } }]] },
    { "no row lost", [[db:row_counts(before)]] },
    { "clients are there", [[db:row_counts { clients = { at_least = 100 } }]] },
    { "pool", [[db:connections { share = { below = "80%" }, idle_in_transaction = 0 }]] },
    { "nothing is slow", [[db:slow_queries("1s", { running = 0 })]] },
    { "settings", [[db:settings { wal_level = "replica", max_connections = { at_least = 20 } }]] },
    { "size", [[db:size { bytes = { below = "1GiB" } }]] },
}

describe("pg reads for gates", function()
    local server, url

    setup(function()
        server = t.postgres()
        url = server:url()
        server:sql("SET ROLE app; " .. BEFORE)
    end)

    -- Verdict and text of each expectation in a list of Lua expressions.
    local function judged(expressions, where)
        local lines = {}
        for i, expression in ipairs(expressions) do
            lines[i] = ("do local e = %s; out[%d] = { e.verdict, e.text } end"):format(expression, i)
        end
        return play.value(where or url, "local out = {}\n" .. table.concat(lines, "\n") .. "\nreturn out")
    end

    local function one(expression, where)
        local verdict = judged({ expression }, where)[1]
        return verdict[1], verdict[2]
    end

    it("say what the checklists ask, before and after the migration", function()
        local gates = { [[local pg = require "rollout.pg"
            playbook "jobrun" { environments = { "test" } }
            local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
            local db = pg.database(cfg.DATABASE_URL)
            local before = step("count", function() return db:row_counts() end)]] }
        for _, line in ipairs(CHECKLISTS) do
            gates[#gates + 1] = ("gate(%q, { on_failure = 'alert' }, function() return %s end)"):format(line[1], line[2])
        end
        local text = table.concat(gates, "\n")
        local function failing()
            local result = t.play(text, { env = { DATABASE_URL = url } })
            assert.equal(0, result.code, result.out .. result.err)
            local names = {}
            for _, line in ipairs(CHECKLISTS) do
                local ended = assert(result.ended[line[1]], line[1])
                if ended.status ~= "ok" then
                    names[#names + 1] = line[1]
                end
            end
            return names
        end
        assert.same({ "new columns", "backfill", "enum", "constraints", "guard indexes", "foreign keys hold" }, failing())
        server:sql("SET ROLE app; " .. MIGRATION)
        assert.same({}, failing())
    end)

    it("are planned without being asked, whatever is not known yet", function()
        local path = t.playbook [[local pg = require "rollout.pg"
            playbook "planned" { environments = { "test" } }
            local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
            local db = pg.database(cfg.DATABASE_URL)
            local name = step("which", function() return db:value "SELECT 'clients'" end)
            local before = step("count", function() return { rows = db:row_counts(), type = db:columns(name).id.type } end)
            gate("columns", function() return db:columns(name, { "id" }) end)
            gate("as before", function() return db:row_counts(before.rows) end)
            gate("backfill", function() return db:backfilled(name, "name", "id") end)]]
        local result = t.host { "plan", path, env = { DATABASE_URL = "postgresql://nobody@127.0.0.1:1/none" } }
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("columns of ‹known after run› in nobody@127.0.0.1:1/none", result.out, 1, true)
        assert.matches("backfill of ‹known after run›, name, id", result.out, 1, true)
    end)

    describe("columns", function()
        it("are told as data", function()
            local found = play.value(url, [[return db:columns "clients"]])
            assert.same({ type = "boolean", nullable = false, default = "false", position = 3 }, found.onboardingComplete)
            assert.same({ type = "text", nullable = false, position = 1 }, found.id)
        end)

        it("say what is missing, and what is not as it should be", function()
            local verdict, text = one [[db:columns("clients", { "aiDisable", name = { type = "varchar", nullable = true },
                id = false, aiDisabled = { default = true } })]]
            assert.equal("fail", verdict)
            assert.matches('aiDisable is missing (did you mean "aiDisabled"?)', text, 1, true)
            assert.matches("name is text, expected varchar", text, 1, true)
            assert.matches("name's nullable is false, expected true", text, 1, true)
            assert.matches("id is still there", text, 1, true)
            assert.matches("aiDisabled's default is false, expected true", text, 1, true)
        end)

        it("of a table that is not there: fail, and as data an error", function()
            local verdict, text = one [[db:columns("client", { "id" })]]
            assert.equal("fail", verdict)
            assert.matches('there is no table client: did you mean "clients"?', text, 1, true)
            local _, problem = play.body(url, [[return db:columns "client"]])
            assert.equal("missing", problem.code)
        end)

        it("of other schemas and of any name", function()
            server:sql([[SET ROLE app; CREATE SCHEMA "S p.a"; CREATE TABLE "S p.a"."T ""q"" ü" ("Ä ö" int);
                CREATE TABLE "S p.a".plain (a int)]])
            assert.equal("pass", (one [==[db:columns([[S p.a.T "q" ü]], { ["Ä ö"] = "int" })]==]))
            assert.equal("pass", (one [==[db:columns([["S p.a"."T ""q"" ü"]], { ["Ä ö"] = "integer" })]==]))
            assert.equal("pass", (one [[db:row_counts { ["S p.a.plain"] = 0 }]]))
            assert.matches('did you mean ".S p.a..plain"', select(2, one [[db:columns("plain", {})]]))
            assert.equal("fail", (one [==[db:columns([[x" y]], {})]==]))
            server:sql([[DROP SCHEMA "S p.a" CASCADE]])
        end)
    end)

    describe("rows", function()
        it("are counted exactly, and held against another count", function()
            local found = play.value(url, [[return { db:row_counts(), db:row_counts("clients") }]])
            assert.same({ { clients = 120, onboarding_states = 100 }, { clients = 120 } }, found)
            local verdict, text = one [[db:row_counts { clients = 121, onboarding_states = { at_least = 1, at_most = 100 } }]]
            assert.equal("fail", verdict)
            assert.matches("rows: clients is 120, expected 121", text, 1, true)
        end)

        it("that are not all filled are told apart", function()
            server:sql([[UPDATE onboarding_states SET "clientId" = NULL WHERE id = 'o1'; INSERT INTO clients VALUES ('', 'x');
                UPDATE onboarding_states SET "clientId" = '' WHERE id = 'o2']])
            local verdict, text = one [[db:backfilled("onboarding_states", "customer_id", "clientId")]]
            assert.equal("fail", verdict)
            assert.matches("rows not filled is 1, expected 0", text, 1, true)
            assert.matches("rows filled with an empty text is 1, expected 0", text, 1, true)
            assert.equal("pass", (one [[db:backfilled("onboarding_states", "customer_id", "clientId",
                { missing = 1, empty = { at_most = 1 } })]]))
            assert.equal("fail", (one [[db:backfilled("onboarding_states", "clientId")]]))
            assert.matches('did you mean "clientId"', select(2, one [[db:backfilled("onboarding_states", "clientid")]]))
            server:sql([[UPDATE onboarding_states SET "clientId" = customer_id; DELETE FROM clients WHERE id = '']])
        end)

        it("of which there are none prove nothing", function()
            server:sql("SET ROLE app; CREATE TABLE empty (a int, b int)")
            local verdict, text = one [[db:backfilled("empty", "a", "b")]]
            assert.equal("unknown", verdict)
            assert.matches("no row has a, so nothing was tried", text, 1, true)
            assert.equal("pass", (one [[db:backfilled("empty", "a", "b", { from = 0 })]]))
            server:sql("DROP TABLE empty")
        end)

        it("without their parents are orphans, with or without a foreign key", function()
            server:sql([[SET ROLE app; CREATE TABLE notes (id int, client text);
                INSERT INTO notes VALUES (1, 'c1'), (2, 'nobody'), (3, NULL);
                ALTER TABLE notes ADD CONSTRAINT notes_client_fkey FOREIGN KEY (client) REFERENCES clients NOT VALID]])
            assert.same({ notes_client_fkey = 1, onboarding_states_clientId_fkey = 0 }, play.value(url, [[return db:orphans()]]))
            assert.equal("fail", (one [[db:orphans {}]]))
            assert.equal("fail", (one [[db:orphans("notes", {})]]))
            assert.equal("pass", (one [[db:orphans { "onboarding_states_clientId_fkey" }]]))
            assert.equal("pass", (one [[db:orphans { notes_client_fkey = { at_most = 1 } }]]))
            assert.equal("fail", (one [[db:orphans("notes", "client", "clients", "id", {})]]))
            local verdict, text = one [[db:constraints {}]]
            assert.equal("fail", verdict)
            assert.matches("notes_client_fkey is not validated", text, 1, true)
            server:sql("DROP TABLE notes")
        end)
    end)

    it("find an index that a broken build left invalid", function()
        server:sql("SET ROLE app; CREATE TABLE twice (a int); INSERT INTO twice VALUES (1), (1)")
        pcall(server.sql, server, "CREATE UNIQUE INDEX CONCURRENTLY twice_a ON twice (a)")
        local verdict, text = one [[db:indexes("twice", { "twice_a" })]]
        assert.equal("fail", verdict)
        assert.matches("twice_a is not valid", text, 1, true)
        assert.equal("fail", (one [[db:indexes("twice", { { "a" } })]]))
        assert.equal("fail", (one [[db:indexes {}]]))
        server:sql("DROP INDEX twice_a; CREATE INDEX twice_some ON twice (a) WHERE a > 5")
        assert.equal("fail", (one [[db:indexes("twice", { { "a" } })]]), "an index of some rows is none of all")
        assert.equal("pass", (one [[db:indexes("twice", { twice_some = { columns = { "a" }, unique = false } })]]))
        server:sql("DROP TABLE twice")
    end)

    it("hold an enum to its labels, by type or by column", function()
        assert.same({ "none", "trial", "active", "canceled", "past_due" }, play.value(url, [[return db:enum "BillingStatus"]]))
        local verdict, text = one [[db:enum("clients", "billingStatus", { "none", "trial", "gone" })]]
        assert.equal("fail", verdict)
        assert.matches("gone is missing; active is one too many; canceled is one too many", text, 1, true)
        assert.matches('did you mean "BillingStatus"', select(2, one [[db:enum("BillingState", { "none" })]]))
        assert.equal("fail", (one [[db:enum("clients", "name", { "none" })]]))
    end)

    it("know row security: on, forced, and with a policy", function()
        server:sql([[SET ROLE app; CREATE TABLE tenants (id int); CREATE TABLE bare (id int);
            ALTER TABLE bare ENABLE ROW LEVEL SECURITY; ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON tenants USING (id = 1)]])
        assert.equal("pass", (one [[db:policies { "tenants" }]]))
        assert.equal("pass", (one [[db:policies { tenants = { "own" } }]]))
        assert.equal("pass", (one [[db:policies { tenants = { "own", forced = false } }]]))
        assert.equal("fail", (one [[db:policies { tenants = { "own", forced = true } }]]))
        assert.equal("fail", (one [[db:policies { tenants = { "other", forced = false } }]]))
        assert.equal("fail", (one [[db:policies { tenants = { forced = true } }]]))
        assert.matches("bare has no policy", select(2, one [[db:policies { "bare" }]]), 1, true)
        assert.matches("clients has row security off", select(2, one [[db:policies {}]]), 1, true)
        server:sql("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
        assert.equal("pass", (one [[db:policies { tenants = { forced = true, applies = true } }]]))
        -- the owner no longer sees all of it: a count would be of a part
        local verdict, text = one [[db:row_counts { tenants = 0 }]]
        assert.equal("unknown", verdict)
        assert.matches("row security hides rows of tenants from app", text, 1, true)
        assert.equal("unknown", (one [[db:backfilled("tenants", "id")]]))
        server:sql("DROP TABLE tenants, bare")
    end)

    describe("sessions", function()
        local function busy(sql)
            return t.start { require("spec.world.postgres").programs() .. "/psql",
                "--no-psqlrc", "--host=" .. server.socket, "--port=" .. server.port, "--username=postgres", "--dbname=app",
                input = sql }
        end

        it("are counted of those allowed; other roles' are hidden without pg_monitor", function()
            local session = busy("/* for joe */ SELECT 'secret of somebody', pg_sleep(600) FROM (SELECT 1) AS clients"
                .. " WHERE 'a person' <> 'x' AND 4711 > 0" .. (" AND current_user = session_user"):rep(10) .. ";")
            t.eventually("the session works", function()
                return server:sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active'"
                    .. " AND pid <> pg_backend_pid()") == "1"
            end)
            local verdict, text = one [[db:slow_queries("1ms", { running = 0 })]]
            assert.equal("unknown", verdict)
            assert.matches("GRANT pg_monitor TO app", text, 1, true)
            assert.equal("unknown", (one [[db:connections { idle_in_transaction = 0 }]]))
            assert.equal("pass", (one [[db:connections { used = { at_least = 2 }, share = { below = "80%" } }]]))
            server:sql("GRANT pg_monitor TO app")
            local found = play.value(url, [[return { slow = db:slow_queries "1ms", all = db:connections() }]])
            local text_of = found.slow.queries[1].text
            assert.matches("AS clients WHERE ? <> ? AND ? > ?", text_of, 1, true)
            assert.equal(160, utf8.len(text_of))
            for _, part in ipairs { "secret", "person", "4711", "joe" } do
                assert.is_nil(text_of:find(part, 1, true), text_of)
            end
            assert.equal(1, found.slow.running)
            assert.equal("fail", (one [[db:slow_queries("1ms", {})]]))
            server:sql("REVOKE pg_monitor FROM app")
            server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND"
                .. " pid <> pg_backend_pid()")
            session:wait(10)
        end)

        it("that use up what a role or a database may have are seen", function()
            server:sql("ALTER ROLE app CONNECTION LIMIT 1")
            local found = play.value(url, [[return db:connections()]])
            assert.equal("role", found.limited_by)
            assert.equal(1, found.share)
            assert.equal("fail", (one [[db:connections {}]]))
            server:sql("ALTER ROLE app CONNECTION LIMIT 0") -- nobody gets in any more
            local verdict, text = one [[db:connections { share = { below = "80%" } }]]
            assert.equal("fail", verdict)
            assert.matches("too many connections", text, 1, true)
            server:sql("ALTER ROLE app CONNECTION LIMIT -1")
        end)
    end)

    it("tell how statements have done, where pg_stat_statements counts them", function()
        local counting = t.postgres { settings = { shared_preload_libraries = "pg_stat_statements" } }
        local found = play.value(counting:url(), [[return db:slow_queries()]])
        assert.is_nil(found.calls)
        assert.equal("unknown", (one([[db:slow_queries("1s", { mean_ms = { below = "1s" } })]], counting:url())))
        assert.matches("pg_stat_statements is not installed", select(2, one([[db:slow_queries("1s", { mean_ms = 1 })]],
            counting:url())), 1, true)
        counting:sql("CREATE EXTENSION pg_stat_statements; SELECT pg_sleep(0.2), 'somebody'")
        found = play.value(counting:url(), [[return db:slow_queries("100ms")]])
        assert.is_true(found.calls >= 2 and found.total_ms > 100 and found.mean_ms > 1)
        assert.equal(1, found.slow_statements)
        assert.equal("fail", (one([[db:slow_queries("100ms", { slow_statements = 0 })]], counting:url())))
        -- installed, and not loaded
        server:sql("CREATE EXTENSION pg_stat_statements")
        local verdict, text = one [[db:slow_queries("1s", { calls = { at_least = 1 } })]]
        assert.equal("unknown", verdict)
        assert.matches("shared_preload_libraries", text, 1, true)
        server:sql("DROP EXTENSION pg_stat_statements")
    end)

    it("know the settings, and whether point-in-time recovery is on", function()
        local found = play.value(url, [[return { db:settings(), db:settings("jit", "work_mem", "max_connections") }]])
        assert.same({ jit = true, work_mem = "4MB", max_connections = 60 }, found[2])
        assert.is_false(found[1].point_in_time_recovery)
        local verdict, text = one [[db:settings { point_in_time_recovery = true }]]
        assert.equal("fail", verdict)
        assert.matches("archive_mode is off", text, 1, true)
        assert.equal("fail", (one [[db:settings { ssl = true }]]))
        assert.matches('did you mean "work_mem"', select(2, one [[db:settings { work_men = "4MB" }]]))
        assert.equal("unknown", (one [[db:settings { data_directory = "x" }]]))
    end)

    it("tell archiving that works from archiving that fails or has yet to begin", function()
        local archiving = t.postgres { settings = { archive_mode = "on", archive_command = "false" } }
        local where = archiving:url()
        assert.matches("nothing has been archived", select(2, one([[db:settings { point_in_time_recovery = true }]], where)),
            1, true)
        local function turn(command, column)
            archiving:sql("ALTER SYSTEM SET archive_command = '" .. command .. "'")
            archiving:sql "SELECT pg_reload_conf()"
            archiving:sql "CREATE TABLE IF NOT EXISTS x (a int); INSERT INTO x VALUES (1); SELECT pg_switch_wal()"
            t.eventually("the archiver has tried", function()
                return archiving:sql("SELECT " .. column .. " FROM pg_stat_archiver") == "t"
            end, 30)
        end
        turn("true", "last_archived_time > coalesce(last_failed_time, '-infinity')")
        assert.equal("pass", (one([[db:settings { point_in_time_recovery = true, archive_mode = "on" }]], where)))
        turn("false", "last_failed_time > last_archived_time")
        local verdict, text = one([[db:settings { point_in_time_recovery = true }]], where)
        assert.equal("fail", verdict)
        assert.matches("archiving failed last at", text, 1, true)
    end)

    it("know how far a standby is behind", function()
        local world = require "spec.world.postgres"
        assert.equal("unknown", (one [[db:replication_lag {}]]))
        local folder, port = world.give(t.temp()) .. "/standby", t.free_port()
        local made = t.run(world.as_owner { world.programs() .. "/pg_basebackup", "-D", folder, "-R", "-X", "stream", "-c", "fast",
            "-h", server.socket, "-p", tostring(server.port), "-U", "postgres", timeout = 60 })
        assert.equal(0, made.code, made.err)
        local standby = t.start(world.as_owner { world.programs() .. "/postgres", "-D", folder, "-p", tostring(port),
            env = { LC_ALL = "C" } })
        t.eventually("it streams", function()
            return server:sql("SELECT state FROM pg_stat_replication") == "streaming"
        end, 30)
        local verdict, text = one [[db:replication_lag { lag_ms = { below = "10s" } }]]
        assert.equal("unknown", verdict)
        assert.matches("GRANT pg_monitor TO app", text, 1, true)
        server:sql("GRANT pg_monitor TO app")
        t.eventually("it has caught up", function()
            return (one [[db:replication_lag { standbys = 1, lag_ms = { below = "10s" }, lag_bytes = 0 }]]) == "pass"
        end, 30)
        local there = server:url():gsub(":" .. server.port .. "/", ":" .. port .. "/")
        assert.equal("pass", (one([[db:replication_lag { role = "standby" }]], there)))
        assert.equal("pass", (one([[db:version { standby = true }]], there)))
        server:sql("REVOKE pg_monitor FROM app")
        standby:kill("sigint")
        standby:wait(30)
    end)

    it("without the right to read are unknown, and name the grant", function()
        server:sql("CREATE TABLE kept (id int, b int)")
        local verdict, text = one [[db:row_counts { kept = 0 }]]
        assert.equal("unknown", verdict)
        assert.matches('GRANT SELECT ON "public"."kept" TO "app"', text, 1, true)
        assert.equal("unknown", (one [[db:backfilled("kept", "id", "b")]]))
        local _, problem = play.body(url, [[return db:row_counts "kept"]])
        assert.equal("access_denied", problem.code)
        -- what was asked of all tables tells of the others, and what is not known is equal to nothing
        assert.equal("unknown", (one [[db:row_counts(db:row_counts())]]))
        assert.equal("pass", (one [[db:columns("kept", { id = "int" })]]))
        server:sql("DROP TABLE kept")
    end)

    it("refuse what cannot be meant", function()
        for call, message in pairs {
            [ [[db:columns()]] ] = "expected a table, got 0 names",
            [ [[db:columns(nil, {})]] ] = "argument 1 is nil",
            [ [[db:columns("clients", { "id" }, "x")]] ] = "argument 2 is a table",
            [ [[db:columns("clients", { id = { typ = "text" } })]] ] = 'a column has no "typ": did you mean "type"?',
            [ [[db:row_counts { "clients" }]] ] = "say what clients shall be",
            [ [[db:connections { usedd = 1 }]] ] = 'tells nothing of "usedd": did you mean "used"?',
            [ [[db:size {}]] ] = "say what is expected",
            [ [[db:size { bytes = { below = "1 furlong" } }]] ] = "furlong",
            [ [[db:views("a")]] ] = "takes no name",
            [ [[db:schema_digest { "x" }]] ] = "what an earlier",
        } do
            local _, problem = play.body(url, "return " .. call)
            assert.equal("usage", problem.code, call)
            assert.matches(message, problem.message, 1, true)
        end
    end)

    it("tell a schema that has changed, and what of it", function()
        local before = play.value(url, [[return db:schema_digest()]])
        assert.equal("table: table", type(before) .. ": " .. type(before.objects))
        server:sql([[SET ROLE app; CREATE INDEX added ON clients (name);
            ALTER TABLE onboarding_states ALTER "clientId" SET DEFAULT 'x']])
        local text = play.value(url, ([[return db:schema_digest { digest = %q, objects = { ["table gone"] = "1",
            ["table onboarding_states"] = %q } }.text]]):format(before.digest, before.objects["table onboarding_states"]))
        assert.matches("table gone is missing", text, 1, true)
        assert.matches("table onboarding_states is defined otherwise", text, 1, true)
        server:sql([[DROP INDEX added; ALTER TABLE onboarding_states ALTER "clientId" DROP DEFAULT]])
        assert.equal("pass", (one(([[db:schema_digest { digest = %q }]]):format(before.digest))))
    end)
end)
