local t = require "spec.helper"
local play = require "spec.modules.migrate_play"
local alembic = require "spec.world.alembic"

local WORLDS = { mysql = t.mariadb, postgresql = t.postgres }

for name, start in pairs(WORLDS) do
    describe("migrate, alembic on " .. name, function()
        local server, folder

        setup(function()
            server = start()
        end)

        before_each(function()
            play.fresh(server)
            folder = alembic.project(t.temp())
            alembic.revision(folder, "aa01", nil, [[op.execute("ALTER TABLE clients ADD COLUMN plan TEXT")]],
                [[op.execute("ALTER TABLE clients DROP COLUMN plan")]])
        end)

        local function words(more)
            return ([[{ tool = "alembic", db = db, backup = backup, command = { %q },
                env = { DATABASE_URL = cfg.DATABASE_URL }, %s }]]):format(alembic.python, more or "")
        end

        local function migrate(more)
            return ("    return migrate(%q, %s)"):format("migrate", words(more))
        end

        local function migrated(text, options)
            options = options or {}
            options.cwd, options.folder = folder, options.folder or t.temp()
            return play.run(server:url(), text or migrate(), options)
        end

        local function refused(run, pattern)
            assert.equal(1, run.code, run.said)
            assert.equal("Migrate/migrate: ready", run.failed)
            assert.matches(pattern, run.problem.message)
        end

        local function columns()
            return play.columns(server, "clients")
        end

        it("upgrades to the head, once", function()
            alembic.revision(folder, "aa02", "aa01", [[op.execute("UPDATE clients SET plan = 'trial'")]])
            local run = migrated()
            assert.equal(0, run.code, run.said)
            assert.same({ "aa01", "aa02" }, run.result.applied)
            assert.equal("aa02", run.result.version)
            assert.equal("trial", server:sql("SELECT plan FROM clients", "app"))
            run = migrated()
            assert.equal(0, run.code, run.said)
            assert.same({}, run.result.applied)
            assert.equal(0, migrated(("gate(\"current\", function() return migrate.check %s end)"):format(words())).code)
        end)

        it("upgrades to a named revision, and goes back only with a reason", function()
            alembic.revision(folder, "aa02", "aa01", [[op.execute("UPDATE clients SET plan = 'trial'")]])
            local run = migrated(migrate 'to = "aa01"')
            assert.same({ "aa01" }, run.result.applied)
            assert.equal(0, migrated().code)
            refused(migrated(migrate 'to = "aa01"'), "goes back, and takes data away: aa02")
            run = migrated(migrate 'to = "aa01", destructive = "the release is withdrawn"')
            assert.equal(0, run.code, run.said)
            assert.equal("aa01", run.result.version)
            assert.same({ "aa02" }, run.result.reverted)
            refused(migrated(migrate 'to = "zz"'), "names no revision")
        end)

        it("refuses two heads", function()
            alembic.revision(folder, "bb02", "aa01", "pass")
            alembic.revision(folder, "cc02", "aa01", "pass")
            refused(migrated(), "there are 2 heads: bb02, cc02; join them by `alembic merge`")
            assert.equal("id,name", columns())
        end)

        it("refuses a database that is ahead of the project", function()
            alembic.revision(folder, "aa02", "aa01", "pass")
            assert.equal(0, migrated().code)
            os.remove(folder .. "/revisions/versions/aa02.py")
            refused(migrated(), "the database is at aa02, which the project does not have")
        end)

        it("refuses where the tool or the project is not there", function()
            refused(migrated(migrate 'cwd = "elsewhere"'), "elsewhere")
            refused(migrated((migrate():gsub(alembic.python, "no-such-python"))), "no%-such%-python")
            refused(migrated(migrate 'config = "other.ini"'), "cannot be read: .*Is cwd right")
        end)

        it("says what was applied and what failed", function()
            alembic.revision(folder, "aa02", "aa01", [[op.execute("ALTER TABLE nobody ADD COLUMN x INT")]])
            alembic.revision(folder, "aa03", "aa02", "pass")
            local run = migrated()
            assert.equal(3, run.code, run.said)
            assert.matches("nobody", run.problem.message)
            assert.matches("applied: aa01\nnot applied: aa02, aa03\n", run.problem.message)
            assert.matches("the backup from before it is there: ", run.problem.message)
        end)

        it("believes the table, not the exit code", function()
            alembic.revision(folder, "aa02", "aa01", "os._exit(0)")
            local run = migrated()
            assert.equal(3, run.code, run.said)
            assert.matches("not applied: aa02", run.problem.message)
        end)

        it("shows the password nowhere", function()
            alembic.revision(folder, "aa02", "aa01",
                [[print(os.environ["DATABASE_URL"]); raise Exception(os.environ["DATABASE_URL"])]])
            local run = migrated(nil, { folder = folder })
            assert.equal(3, run.code, run.said)
            assert.is_nil((run.out .. run.err):find("dark", 1, true))
            local found = t.run { "grep", "-rlE", "wine-dark|wine%2Ddark", run.state, folder .. "/backups" }
            assert.equal("", found.out)
        end)

        -- ---- bad luck ----

        local function waiting(python)
            alembic.revision(folder, "aa02", "aa01", [[open("there", "w").close()
    while not os.path.exists("go"): time.sleep(0.02)
    ]] .. (python or [[op.execute("UPDATE clients SET plan = 'trial'")]]))
        end

        local function begun()
            waiting()
            local run = play.start(server:url(), migrate(), { folder = folder })
            t.eventually("the migration runs", function() return t.exists(folder .. "/there") end, 30)
            return run
        end

        it("says so when the database goes away under it", function()
            local own = start()
            play.fresh(own)
            waiting()
            local run = play.start(own:url(), migrate(), { folder = folder })
            t.eventually("the migration runs", function() return t.exists(folder .. "/there") end, 30)
            own:kill()
            t.write(folder .. "/go", "")
            run.host:wait(60)
            local ended = play.read(t.digest_events(run.host))
            assert.equal("Migrate/migrate", ended.failed)
            assert.matches("what is applied cannot be told: ", ended.problem.message)
            assert.matches("the backup from before it is there: ", ended.problem.message)
        end)

        it("keeps what the tool printed, also where it failed", function()
            alembic.revision(folder, "aa02", "aa01", [[print("said by aa02"); raise Exception("no")]])
            local run = migrated(migrate 'log = "migration.log"')
            assert.equal(3, run.code, run.said)
            assert.matches("said by aa02", t.read(folder .. "/migration.log"))
        end)

        it("goes on when the host is killed", function()
            local run = begun()
            run.host:kill("sigkill")
            run.host:wait()
            t.write(folder .. "/go", "")
            local again = play.resume(run)
            assert.equal(0, again.code, again.said)
            assert.same({ "aa01", "aa02" }, again.result.applied)
            assert.equal("trial", server:sql("SELECT plan FROM clients", "app"))
        end)

        it("is told by the tool's table when all of it was killed", function()
            local run = begun()
            play.kill_all(run)
            t.write(folder .. "/go", "")
            local again = play.resume(run)
            assert.equal(0, again.code, again.said)
            assert.same({ "aa01", "aa02" }, again.result.applied)
        end)
    end)
end
