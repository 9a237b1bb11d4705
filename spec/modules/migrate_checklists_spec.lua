-- The migration lines of the five checklists, as lines of a playbook, on paper.
local t = require "spec.helper"

local PLAYBOOK = [[
local pg, mysql, migrate = require "rollout.pg", require "rollout.mysql", require "rollout.migrate"
playbook "lines" { environments = { "production" } }
local cfg = env.require { DATABASE_URL = { format = "postgresql" }, TERP_URL = { format = "mysql" } }
local db, terp = pg.database(cfg.DATABASE_URL), mysql.database(cfg.TERP_URL)
local url = { DATABASE_URL = cfg.DATABASE_URL }
local backend = { "docker", "compose", "exec", "-T", "backend", "python" }

local backup = step("back up", function() return db:dump { to = "backups" } end)
local terp_backup = step("back up TERP", function() return terp:dump { to = "backups" } end)

stage("JobRun", function() -- npx prisma migrate deploy, in apps/backend
    migrate("Production Database Migration", { tool = "prisma", db = db, backup = backup, cwd = "apps/backend", env = url })
    gate("database before code", function() return migrate.required "Production Database Migration" end)
end)
stage("Optropic", function() -- npx prisma migrate deploy; npx prisma migrate status; migrate resolve --rolled-back
    migrate("Run migrations", { tool = "prisma", db = db, backup = backup, env = url })
    gate("Verify migration status", function() return migrate.check { tool = "prisma", db = db, env = url } end)
    migrate.resolve("Revert migrations", { tool = "prisma", db = db, env = url, rolled_back = "20260101000000_orders" })
end)
stage("Readiness", function() -- docker compose exec backend alembic upgrade head; alembic current
    migrate("Apply migrations", { tool = "alembic", db = db, backup = backup, command = backend })
    gate("Verify migration status", function() return migrate.check { tool = "alembic", db = db, command = backend } end)
end)
stage("TERP", function() -- pnpm db:push 2>&1 | tee migration_DATE.log
    migrate("Run migrations with logging", { tool = "drizzle", command = { "pnpm", "db:push" }, db = terp,
        backup = terp_backup, env = { DATABASE_URL = cfg.TERP_URL }, log = "migration.log" })
end)
stage("Practice Hub", function() -- pnpm db:push, which should show no drift
    gate("No drift", function()
        return migrate.check { tool = "drizzle", command = { "pnpm", "db:push" }, db = db, env = url }
    end)
end)
]]

describe("the checklists' migrations", function()
    it("are lines of a playbook", function()
        local path, folder = t.playbook(PLAYBOOK, "lines")
        local plan = t.host { "plan", path, cwd = folder, env = { DATABASE_URL = "postgresql://app:wine-dark-sea@127.0.0.1:1/app",
            TERP_URL = "mysql://app:wine-dark-sea@127.0.0.1:1/terp" } }
        assert.equal(0, plan.code, plan.out .. plan.err)
        for _, line in ipairs {
            "npx %-%-no %-%- prisma migrate deploy  %(in apps/backend%)", "npx %-%-no %-%- prisma migrate deploy ",
            "prisma migrate resolve %-%-rolled%-back 20260101000000_orders",
            "docker compose exec %-T backend python %-m alembic %-c alembic.ini upgrade head", "→ pnpm db:push ",
            "pnpm db:push %-%-strict %-%-verbose" } do
            assert.matches(line, plan.out)
        end
        assert.is_nil(plan.out:find("wine-dark", 1, true))
        assert.is_nil(plan.out:find("cannot follow", 1, true), plan.out)
    end)
end)
