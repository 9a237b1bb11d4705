local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local chain = require "spec.faults.chain"

describe("migrate, a folder of SQL on PostgreSQL", function()
    local server, folder

    setup(function()
        server = t.postgres()
    end)

    before_each(function()
        play.fresh(server)
        folder = t.temp()
    end)

    local function file(name, text)
        t.write(folder .. "/migrations/" .. name, text)
    end

    local function migrated(more, options)
        options = options or {}
        options.cwd, options.folder = folder, options.folder or t.temp()
        return play.run(server:url(), ([[return migrate("migrate", { tool = "sql", db = db, backup = backup, %s })]]):format(
            more or ""), options)
    end

    it("applies each file in one transaction, and tells what changed", function()
        file("1_a.sql", [[
            CREATE TABLE orders (id int PRIMARY KEY, total numeric);
            CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;
            INSERT INTO orders VALUES (one(), 5);]])
        file("2_b.sql", "ALTER TABLE clients ADD COLUMN plan text")
        local run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({ "1_a.sql", "2_b.sql" }, run.result.applied)
        assert.equal(1, run.result.after.rows.orders)
        assert.is_nil(run.result.before.rows.orders)
        local changed = table.concat(run.result.changed, "\n")
        assert.matches("orders", changed)
        assert.matches("clients", changed)
        assert.is_nil(changed:find("sql_migrations", 1, true))
    end)

    it("takes all of a file back that fails in the middle, whatever it did", function()
        file("1_a.sql", "ALTER TABLE clients ADD COLUMN one int")
        file("2_b.sql", "ALTER TABLE clients ADD COLUMN two int;\nDROP TABLE clients;\nALTER TABLE nobody ADD COLUMN x int;")
        local run = migrated()
        assert.equal(3, run.code, run.said)
        assert.matches("2_b.sql:3: .*nobody.*all of this file was rolled back", run.problem.message)
        assert.matches("applied: 1_a.sql\nnot applied: 2_b.sql\n", run.problem.message)
        assert.equal("id,name,one", play.columns(server, "clients"))
        file("2_b.sql", "ALTER TABLE clients ADD COLUMN two int")
        run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({ "2_b.sql" }, run.result.applied)
    end)

    it("goes statement by statement where the file says so", function()
        file("1_a.sql", "-- rollouthost: no transaction\nCREATE INDEX CONCURRENTLY by_name ON clients (name);\n"
            .. "CREATE INDEX CONCURRENTLY by_name ON clients (name);")
        local run = migrated()
        assert.equal(3, run.code, run.said)
        assert.matches("1_a.sql:3: .*already exists", run.problem.message)
        assert.matches("half done: 1_a.sql. 1 of 2 statements", run.problem.message)
        file("1_a.sql", "-- rollouthost: no transaction\nCREATE INDEX CONCURRENTLY by_name ON clients (name);")
        server:sql("DROP INDEX by_name; DELETE FROM sql_migrations")
        run = migrated()
        assert.equal(0, run.code, run.said)
    end)

    it("waits for a lock no longer than it may", function()
        file("1_a.sql", "ALTER TABLE clients ADD COLUMN held text DEFAULT current_setting('lock_timeout')")
        local run = migrated 'lock_timeout = "7s"'
        assert.equal(0, run.code, run.said)
        assert.equal("7s", server:sql "SELECT held FROM clients")
    end)

    it("is taken back by its backup where it failed", function()
        file("1_a.sql", "ALTER TABLE clients ADD COLUMN one int")
        file("2_b.sql", "DELETE FROM clients")
        file("3_c.sql", "ALTER TABLE nobody ADD COLUMN x int")
        local run = migrated(nil, { restore = true })
        assert.equal(3, run.code, run.said)
        assert.equal("id,name", play.columns(server, "clients"))
        assert.equal("a", server:sql("SELECT name FROM clients WHERE id = 1", "app"))
        os.remove(folder .. "/migrations/3_c.sql")
        run = migrated(nil, { folder = t.temp(), cwd = folder })
        assert.equal(0, run.code, run.said)
        assert.same({ "1_a.sql", "2_b.sql" }, run.result.applied)
    end)

    it("is applied once, wherever the host dies", function()
        file("1_a.sql", "ALTER TABLE clients ADD COLUMN plan text;\nUPDATE clients SET plan = coalesce(plan, '') || '+';")
        file("2_b.sql", "INSERT INTO clients VALUES (2, 'b', 'new');")
        local path = t.playbook([[
            local pg, migrate = require "rollout.pg", require "rollout.migrate"
            playbook "demo" { environments = { "staging" } }
            local cfg = env.require { DATABASE_URL = { format = "postgresql" } }
            local db = pg.database(cfg.DATABASE_URL)
            local backup = step("back up", function() return db:dump { to = "backups", keep_scratch = false } end)
            return migrate("migrate", { tool = "sql", db = db, backup = backup })]], "demo", folder)
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state",
            env = { DATABASE_URL = server:url() }, every = 2 }
        local code = run:run(200)
        assert(code == 0, run.said:sub(-3000))
        assert.equal("1|a|+\n2|b|new", server:sql("SELECT * FROM clients ORDER BY id"))
    end)
end)
