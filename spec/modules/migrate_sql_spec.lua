local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local chain = require "spec.faults.chain"

describe("migrate, a folder of SQL on MariaDB", function()
    local server, folder

    setup(function()
        server = t.mariadb()
    end)

    before_each(function()
        server:sql("DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4")
        server:sql("CREATE TABLE clients (id INT PRIMARY KEY, name TEXT); INSERT INTO clients VALUES (1, 'a'), (2, 'b')", "app")
        folder = t.temp()
    end)

    local function file(name, text)
        t.write(folder .. "/migrations/" .. name, text)
    end

    local MIGRATE = [[    return migrate("migrate", { tool = "sql", db = db, backup = backup })]]

    local function migrated(text, options)
        options = options or {}
        options.folder = options.folder or folder
        return play.run(server:url(), text or MIGRATE, options)
    end

    local function columns()
        return server:sql("SELECT group_concat(column_name ORDER BY ordinal_position) FROM information_schema.columns"
            .. " WHERE table_schema = 'app' AND table_name = 'clients'")
    end

    local function refused(run, pattern)
        assert.equal(1, run.code, run.said)
        assert.equal("Migrate/migrate: ready", run.failed)
        assert.matches(pattern, run.problem.message)
        assert.equal("id,name", columns())
    end

    describe("that is in order", function()
        before_each(function()
            file("2_plan.sql", "ALTER TABLE clients ADD COLUMN plan TEXT;\nUPDATE clients SET plan = 'trial';\n")
            file("10_more.sql", "-- ; no end\nINSERT INTO clients (id, name) VALUES (3, 'it''s; not `ended'); -- end\n")
        end)

        it("is applied by number, once", function()
            local run = migrated()
            assert.equal(0, run.code, run.said)
            assert.same({ "2_plan.sql", "10_more.sql" }, run.result.applied)
            assert.equal("10_more.sql", run.result.version)
            assert.not_equal(run.result.before.digest, run.result.after.digest)
            assert.equal("1\ttrial\n2\ttrial\n3\tNULL", server:sql("SELECT id, plan FROM clients ORDER BY id", "app"))
            run = migrated(nil, { state = folder .. "/second" })
            assert.equal(0, run.code, run.said)
            assert.same({}, run.result.applied)
            assert.equal(run.result.before.digest, run.result.after.digest)
        end)

        it("waits for a backup", function()
            refused(migrated [[return migrate("migrate", { tool = "sql", db = db })]], "backup: there is none")
        end)

        it("waits for a backup that is proven, of this database, young and there", function()
            local function with(change)
                return migrated(([[
                    local other = {}
                    for name, value in pairs(backup) do other[name] = value end
                    %s
                    return migrate("migrate", { tool = "sql", db = db, backup = other, max_age = "30m" })]]):format(change),
                    { folder = t.temp(), cwd = folder })
            end
            refused(with "other.verified = false", "was not proven by a restore")
            refused(with "other.database = 'another'", "is of another in .*, and not of app@")
            refused(with "other.db = 'app@10.0.0.7:3306/app'", "is of app in app@10.0.0.7:3306/app, and not of app@127")
            refused(with "other.time = run.now() - 45 * 60000", "45m old, and it may be 30m")
            refused(with "other.path = other.path .. 'x'", "is not there any more")
        end)

        it("needs none where there is nothing to lose", function()
            server:sql("DROP TABLE clients", "app")
            file("1_clients.sql", "CREATE TABLE clients (id INT PRIMARY KEY, name TEXT)")
            local run = migrated(nil, { empty = true })
            assert.equal(0, run.code, run.said)
            assert.equal(3, #run.result.applied)
        end)

        it("is what code waits for", function()
            local code = [[
                gate("database before code", function() return migrate.required "migrate" end)
                step("deploy", function() fs.write("deployed", "x") end)]]
            local run = migrated(MIGRATE:gsub("return ", "") .. code)
            assert.equal(0, run.code, run.said)
            assert.is_true(t.exists(folder .. "/deployed"))
            os.remove(folder .. "/deployed")
            run = migrated(code, { state = folder .. "/second" })
            assert.equal(1, run.code, run.said)
            assert.matches("not recorded in this run", run.problem.message)
            assert.is_false(t.exists(folder .. "/deployed"))
        end)

        it("lets code go where it was left out on purpose", function()
            local run = migrated([[
                migrate("migrate", { tool = "sql", db = db, backup = backup, when = false })
                gate("database before code", function() return migrate.required "migrate" end)]])
            assert.equal(0, run.code, run.said)
            assert.equal("id,name", columns())
        end)

        it("is checked", function()
            local check = [[gate("schema", function() return migrate.check { tool = "sql", db = db } end)]]
            local run = migrated(check)
            assert.matches("pending: 2_plan.sql, 10_more.sql", run.problem.message)
            assert.equal(0, migrated(MIGRATE:gsub("return ", "") .. "\n" .. check, { state = folder .. "/second" }).code)
        end)

        it("is planned", function()
            local plan = play.plan(server:url(), MIGRATE, { folder = folder })
            assert.equal(0, plan.code, plan.out .. plan.err)
            assert.matches("migrate: ready", plan.out)
            assert.matches("find ./migrations/%*.sql%s+read\n%s+→ transaction in app@", plan.out)
        end)
    end)

    it("knows its options", function()
        local function wrong(call, pattern)
            local run = migrated(call, { folder = t.temp(), cwd = folder })
            assert.not_equal(0, run.code)
            assert.matches(pattern, run.out .. run.err)
        end
        wrong([[migrate("migrate", { tool = "sql", db = db, backup = backup, maxage = "1h" })]], "did you mean .*max_age")
        wrong([[migrate("migrate", { tool = "prism", db = db, backup = backup })]], "did you mean .*prisma")
        wrong([[migrate("migrate", { db = db, backup = backup })]], "tool is missing")
        wrong([[migrate("migrate")]], "tool is missing")
        wrong([[migrate { tool = "sql", db = db }]], "its first argument is its name")
        wrong([[migrate("migrate", { tool = "sql", backup = backup })]], "db is missing")
        wrong([[migrate("migrate", { tool = "sql", db = db, backup = backup, schema = "x" })]], "unknown option .*schema")
    end)

    it("refuses what it cannot apply, or what was changed behind it", function()
        refused(migrated(), "no .sql file in ./migrations")
        local function only(text)
            file("1_x.sql", text)
            return migrated(nil, { folder = t.temp(), cwd = folder })
        end
        refused(only "\n\nBEGIN;\nSELECT 1;", "1_x.sql:3: BEGIN")
        refused(only "-- nothing", "1_x.sql holds no statement")
        file("1_x.sql", "UPDATE clients SET name = 'c'")
        file("3_x.sql", "UPDATE clients SET name = 'd'")
        assert.equal(0, migrated(nil, { folder = t.temp(), cwd = folder }).code)
        file("2_x.sql", "UPDATE clients SET name = 'e'")
        refused(migrated(nil, { folder = t.temp(), cwd = folder }), "2_x.sql comes before 3_x.sql")
        os.remove(folder .. "/migrations/2_x.sql")
        file("3_x.sql", "UPDATE clients SET name = 'f'")
        refused(migrated(nil, { folder = t.temp(), cwd = folder }), "3_x.sql was edited after it was applied")
        os.remove(folder .. "/migrations/3_x.sql")
        refused(migrated(nil, { folder = t.temp(), cwd = folder }), "3_x.sql is applied and not in")
    end)

    it("says what was applied, what failed where, and that the backup is there", function()
        file("1_a.sql", "UPDATE clients SET name = 'new'")
        file("2_b.sql", "ALTER TABLE clients ADD COLUMN one INT;\n\nALTER TABLE clients\n  ADD COLUMN one INT;")
        file("3_c.sql", "ALTER TABLE clients ADD COLUMN two INT")
        local run = migrated()
        assert.equal(3, run.code, run.said)
        assert.equal("Migrate/migrate", run.failed)
        local said = run.problem.message
        assert.matches("2_b.sql:3: .*Duplicate column", said)
        assert.matches("applied: 1_a.sql\n", said)
        assert.matches("not applied: 3_c.sql\n", said)
        assert.matches("half done: 2_b.sql. 1 of 2 statements", said)
        assert.matches("the backup from before it is there: .*backups/", said)
        run = migrated(nil, { folder = t.temp(), cwd = folder })
        assert.equal("Migrate/migrate: ready", run.failed)
        assert.matches("2_b.sql is half done: 1 of 2 statements", run.problem.message)
    end)

    it("takes back a file of data that fails in the middle", function()
        file("1_a.sql", "UPDATE clients SET name = 'new';\nINSERT INTO clients VALUES (1, 'again')")
        local run = migrated()
        assert.matches("1_a.sql:2: .*Duplicate entry.*rolled back", run.problem.message)
        assert.equal("a", server:sql("SELECT name FROM clients WHERE id = 1", "app"))
        assert.matches("not applied: 1_a.sql\n", run.problem.message)
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
        file("1_a.sql", "INSERT INTO clients VALUES (10, 'ten');\nUPDATE clients SET name = concat(name, '+') WHERE id = 10;")
        local path = t.playbook([[
            local mysql, migrate = require "rollout.mysql", require "rollout.migrate"
            playbook "demo" { environments = { "staging" } }
            local cfg = env.require { DATABASE_URL = { format = "mysql" } }
            local db = mysql.database(cfg.DATABASE_URL)
            local backup = step("back up", function() return db:dump { to = "backups" } end)
            return migrate("migrate", { tool = "sql", db = db, backup = backup })]], "demo", folder)
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state",
            env = { DATABASE_URL = server:url() } }
        local code = run:run(100)
        assert(code == 0, run.said:sub(-3000))
        assert.equal("ten+", server:sql("SELECT name FROM clients WHERE id = 10", "app"))
    end)
end)
