local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local prisma = require "spec.world.prisma"

describe("migrate, prisma", function()
    local server, folder, variables

    setup(function()
        server = t.postgres()
    end)

    before_each(function()
        play.fresh(server)
        server:sql("DROP TABLE clients")
        folder = t.temp()
        variables = prisma.project(folder)
        prisma.migration(folder, "20260101000000_first", "CREATE TABLE clients (id INT PRIMARY KEY, name TEXT);")
    end)

    local WORDS = [[{ tool = "prisma", db = db, backup = backup, env = { DATABASE_URL = cfg.DATABASE_URL }, %s }]]

    local function migrate(more)
        return ([[    return migrate("migrate", %s)]]):format(WORDS:format(more or ""))
    end

    local function migrated(text, options)
        options = options or {}
        options.cwd, options.folder, options.env = folder, options.folder or t.temp(), options.env or {}
        for name, value in pairs(variables) do
            options.env[name] = options.env[name] or value
        end
        return play.run(server:url(), text or migrate(), options)
    end

    local function refused(run, pattern)
        assert.equal(1, run.code, run.said)
        assert.equal("Migrate/migrate: ready", run.failed)
        assert.matches(pattern, run.problem.message)
    end

    local function first()
        local run = migrated(nil, { empty = true })
        assert.equal(0, run.code, run.said)
        return run
    end

    it("deploys what is pending, once", function()
        assert.same({ "20260101000000_first" }, first().result.applied)
        prisma.migration(folder, "20260102000000_plan", "ALTER TABLE clients ADD COLUMN plan TEXT;")
        prisma.migration(folder, "20260103000000_fill", "INSERT INTO clients VALUES (1, 'a', 'trial');")
        local run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({ "20260102000000_plan", "20260103000000_fill" }, run.result.applied)
        assert.equal("20260103000000_fill", run.result.version)
        assert.equal("1|a|trial", server:sql "TABLE clients")
        run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({}, run.result.applied)
        assert.equal(0, migrated(("gate(%q, function() return migrate.check %s end)"):format("status", WORDS:format(""))).code)
    end)

    it("names a migration that failed, and the way out", function()
        first()
        prisma.migration(folder, "20260102000000_good", "ALTER TABLE clients ADD COLUMN plan TEXT;")
        prisma.migration(folder, "20260103000000_bad", "CREATE TABLE half (id INT); SELECT 1/0;")
        prisma.migration(folder, "20260104000000_later", "CREATE TABLE later (id INT);")
        local run = migrated()
        assert.equal(3, run.code, run.said)
        local said = run.problem.message
        assert.matches("division by zero", said)
        assert.matches("applied: 20260102000000_good\n", said)
        assert.matches("not applied: 20260104000000_later\n", said)
        assert.matches("half done: 20260103000000_bad. .*division by zero. Roll back by the backup; or .*resolve %-%-rolled%-back"
            .. ' "20260103000000_bad"', said)
        assert.matches("the backup from before it is there: ", said)
        refused(migrated(), "20260103000000_bad failed or is half done")
        local check = migrated(("gate(%q, function() return migrate.check %s end)"):format("status", WORDS:format("")))
        assert.matches("20260103000000_bad failed", check.problem.message)
    end)

    it("goes on after the failed migration was resolved", function()
        first()
        prisma.migration(folder, "20260102000000_bad", "CREATE TABLE half (id INT); SELECT 1/0;")
        assert.equal(3, migrated().code)
        server:sql "DROP TABLE half"
        prisma.migration(folder, "20260102000000_bad", "CREATE TABLE half (id INT);")
        local resolve = [[    migrate.resolve("mark it", %s)]]
        local run = migrated(resolve:format(WORDS:format 'rolled_back = "20260102000000_bad"'))
        assert.equal(0, run.code, run.said)
        run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({ "20260102000000_bad" }, run.result.applied)
        run = migrated(resolve:format(WORDS:format 'rolled_back = "20260102000000_bad"'))
        assert.not_equal(0, run.code)
        assert.matches("did not fail", run.problem.message)
    end)

    it("refuses what was edited, or taken away, after it was applied", function()
        first()
        prisma.migration(folder, "20260101000000_first", "CREATE TABLE other (id INT);")
        refused(migrated(), "20260101000000_first was edited after it was applied")
        os.remove(folder .. "/prisma/migrations/20260101000000_first/migration.sql")
        refused(migrated(), "20260101000000_first is applied and not in")
    end)

    it("refuses where the tool or the project is not there", function()
        refused(migrated(migrate 'cwd = "elsewhere"', { empty = true }), "there is no migration in elsewhere")
        os.remove(folder .. "/node_modules")
        refused(migrated(nil, { empty = true }), "`npx %-%-no %-%- prisma migrate %-%-help` does not run: ")
    end)

    it("refuses a database that prisma would refuse, and only that", function()
        server:sql "SET ROLE app; CREATE TABLE known (id INT)"
        refused(migrated(), 'public has a table, and prisma has noted nothing.*resolve %-%-applied "20260101000000_first"')
        server:sql "DROP TABLE known; SET ROLE app; CREATE SCHEMA auth; CREATE TABLE auth.users (id INT)"
        server:sql "SET ROLE app; CREATE TABLE spatial_ref_sys (srid INT)" -- PostGIS's, which prisma knows
        local run = migrated()
        assert.equal(0, run.code, run.said)
        assert.same({ "20260101000000_first" }, run.result.applied)
    end)

    it("says when the database is down", function()
        local down = t.postgres()
        local url = down:url()
        down:stop()
        local run = play.run(url, migrate(), { cwd = folder, folder = t.temp(), env = variables, empty = true })
        assert.equal(1, run.code, run.said)
        assert.matches("refused", run.problem.message)
    end)

    it("leaves a migration that was cut off in the middle to a person, by name", function()
        first()
        prisma.migration(folder, "20260102000000_slow", "INSERT INTO clients VALUES (1, 'a'); SELECT pg_sleep(60);")
        local env = {}
        for name, value in pairs(variables) do
            env[name] = value
        end
        local run = play.start(server:url(), migrate(), { folder = folder, env = env })
        t.eventually("the migration runs", function()
            return server:sql [[SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
                AND application_name <> 'psql']] ~= "0"
        end, 30)
        play.kill_all(run)
        local again = play.resume(run)
        assert.equal(7, again.code, again.said)
        -- the server was told to look whether its client lives, so its session is gone as well
        assert.equal("0", server:sql "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        assert.matches("half done: 20260102000000_slow. it noted nothing", again.out)
        assert.matches("migrate resolve %-%-rolled%-back", again.out)
    end)
end)
