-- TERP's production rollout: its checklist, line by line and in its words.
--
--   rollouthost playbooks/terp.lua --env staging --set version=v1.5.0 --env-file staging.env
--   rollouthost playbooks/terp.lua --env production --set version=v1.5.0 --env-file production.env --at 2026-11-24T22:00
--
-- The staging run comes first and is what production's first stage looks at. A production run may be started two days
-- ahead: it waits for its people, its countdown and its window, on any machine that stays on.

local http, fs, mysql, sh, time = require "rollout.http", require "rollout.fs", require "rollout.mysql", require "rollout.sh",
    require "rollout.time"
local maintenance, metrics, node = require "rollout.maintenance", require "rollout.metrics", require "rollout.node"
local railway, slack = require "rollout.railway", require "rollout.slack"
local smoke = require "terp_smoke"

playbook "terp" {
    title = "TERP: database and application",
    environments = { "staging", "production" },
    inputs = {
        version = { type = "string", pattern = "^v%d+%.%d+%.%d+$", help = "release tag, as CI and staging know it" },
        schema_change = { type = "boolean", default = true, help = "false: no migration, no database admin needed" },
        estimate = { type = "duration", default = "45m", help = "estimated duration, for the announcement" },
        contact = { type = "string", default = "#terp-rollouts", help = "where the deployer is reached" },
        validated = { type = "duration", default = "24h", help = "how long staging must have run the release" },
        window = { type = "duration", default = "5m", help = "what one measurement of the metrics looks back on" },
        watch = { type = "duration", default = "30m", help = "how long the rollback criteria are watched" },
        watch_every = { type = "duration", default = "1m" },
        aftercare = { type = "duration", default = "24h", help = "the first hours after the deployment" },
        spot_checks = { type = "duration", default = "4h", help = "between two of them" },
    },
    -- Who they are stands in a file of the team's: --roles FILE.
    roles = { ["technical lead"] = {}, ["database admin"] = {}, ["on-call engineer"] = {}, management = {} },
    escalation = {
        { "on-call engineer" },
        { "technical lead", after = "15m" },
        { "database admin", after = "30m" },
        { "management", after = "1h" },
    },
    notify = {
        team = slack.webhook(secret "SLACK_TEAM_URL"),
        stakeholders = slack.webhook(secret "SLACK_STAKEHOLDERS_URL"),
    },
    rollback = { budget = "15m" },
}

local production = run.environment == "production"
local contacts = asset "terp_contacts.txt"
local Environment = run.environment:gsub("^%l", string.upper)
local input, version = run.inputs, run.inputs.version

local cfg = env.require {
    DATABASE_URL = { format = "mysql" },
    API_URL = { format = "url", public = true },
    ADMIN_TOKEN = { min = 16 },
    SMOKE_PASSWORD = { min = 8 },
    RAILWAY_TOKEN = {},
    CI_URL = { format = "url", public = true },
    CI_TOKEN = {},
    DASHBOARDS_URL = { format = "url", public = true },
    BACKUP_DIR = { public = true },
    BACKUP_MIRROR = { public = true },
    TERP_CHECKOUT = { public = true },
    STAGING_API_URL = { format = "url", public = true, optional = not production },
    STAGING_SMOKE_PASSWORD = { min = 8, optional = not production },
}

local db = mysql.database(cfg.DATABASE_URL)
local switch = maintenance.switch(cfg.API_URL .. "/admin/maintenance", cfg.ADMIN_TOKEN)
local service = railway.service { environment = run.environment, token = cfg.RAILWAY_TOKEN, cwd = cfg.TERP_CHECKOUT }
local pnpm = node.project { manager = "pnpm", cwd = cfg.TERP_CHECKOUT, env = { DATABASE_URL = cfg.DATABASE_URL } }
local measured = metrics.source(cfg.API_URL .. "/metrics", input.window)
local app = { url = cfg.API_URL, password = cfg.SMOKE_PASSWORD, service = service }

local function tell(to, text, ...)
    notify { to = to, text = text:format(...) }
end

local function runs(url)
    return http.check(url .. "/version", { json = { path = "version", equals = version } })
end

-- ---- Communication at the end, whichever it is ----

on.succeeded(function()
    tell("stakeholders", "TERP %s is in %s. Thank you for your patience.", version, run.environment)
end)

on.rolled_back(function(outcome)
    for _, channel in ipairs { "team", "stakeholders" } do
        tell(channel, "📢 %s Rollback Completed\nReason: %s\nCurrent Status: Stable\n"
            .. "Next Steps: incident report within 24 hours; %s investigates", Environment, outcome.cause, run.operator)
    end
    note(contacts)
    note("Post-mortem: create the incident report within 24 hours, schedule the post-mortem meeting, document lessons learned. "
        .. "Reason: " .. outcome.cause)
end)

-- ---- Pre-Deployment Requirements ----

stage("Pre-Deployment Requirements", { only = "production" }, function()
    stage("Staging Verification", function()
        local staging = { url = cfg.STAGING_API_URL, password = cfg.STAGING_SMOKE_PASSWORD }

        gate("Changes deployed to staging successfully", function() return runs(staging.url) end)
        smoke.test(staging, "Staging smoke tests passed", {
            "User login works", "Dashboard loads with real data", "Orders list displays correctly", "Create new order works",
            "Inventory operations work", "Client management works", "Health endpoint", "Calculations are correct",
        })
        gate("Changes validated in staging for at least 24 hours", function()
            local staged = http.get(staging.url .. "/version", { expect = 200 }).json
            return expect("time on staging", staged.running_for_s):at_least(time.duration(input.validated) / 1000, "s")
        end)
        confirm "No new issues reported in staging"
    end)

    stage("Approval Requirements", function()
        local evidence = { version = version, schema_change = input.schema_change }

        approve("Technical lead approval", { role = "technical lead", evidence = evidence })
        approve("Database admin approval (for schema changes)", { role = "database admin", when = input.schema_change,
            evidence = evidence })
        tell("stakeholders", "Business stakeholder notification: TERP %s is going to production.", version)
        approve("Deployment window approved", { role = "technical lead", evidence = { at = run.started, version = version } })
    end)
end)

-- ---- Pre-Deployment Checklist ----

stage("24 Hours Before", { only = "production", before = "24h" }, function()
    tell("stakeholders", "TERP %s will be deployed to %s. Estimated duration: %s. Contact: %s.", version, run.environment,
        input.estimate, input.contact)
    gate("Verify staging environment matches planned production changes", function() return runs(cfg.STAGING_API_URL) end)
    confirm "Review and finalize rollback plan"
    confirm "Confirm on-call engineer availability"
    gate("Verify backup systems are functioning", function()
        local size = db:value("select cast(sum(data_length + index_length) as unsigned) from information_schema.tables "
            .. "where table_schema = database()")
        -- The dump, its copy and the restore that proves it.
        return { expect("free in BACKUP_DIR", fs.free(cfg.BACKUP_DIR)):at_least(3 * size, "bytes"),
            expect("free in BACKUP_MIRROR", fs.free(cfg.BACKUP_MIRROR)):at_least(size, "bytes") }
    end)
end)

-- A dump in two places, proven by a restore into a scratch schema. That of the one to go back to stands ready for a rollback.
local function back_up(name, ready)
    local backup = step("Create fresh database backup: " .. name, { timeout = "1h" }, function()
        return db:dump { to = cfg.BACKUP_DIR, also = { cfg.BACKUP_MIRROR }, name = run.id .. "-" .. name,
            keep_scratch = ready }
    end)
    gate("Verify backup integrity: " .. name, function()
        return { expect("verified by a restore", backup.verified):equals(true),
            expect("SHA-256 of the backup", fs.sha256(backup.path)):equals(backup.sha256) }
    end)
    gate("Store backup in multiple locations: " .. name, function()
        local copy = cfg.BACKUP_MIRROR .. "/" .. backup.path:match("[^/]+$")
        return expect("SHA-256 of the copy", fs.sha256(copy)):equals(backup.sha256)
    end)
    return backup
end

stage("2 Hours Before", { only = "production", before = "2h" }, function()
    back_up("2-hours-before", false)
    confirm "Confirm team members are online"
end)

stage("30 Minutes Before", { before = production and "30m" or nil }, function()
    gate("Final check of CI pipeline status", function()
        return http.check(cfg.CI_URL .. "/status/" .. version, { bearer = cfg.CI_TOKEN,
            json = { path = "state", equals = "success" } })
    end)
    gate("Verify monitoring dashboards are accessible", function()
        local checks = {}
        for i, dashboard in ipairs(http.get(cfg.DASHBOARDS_URL, { expect = 200 }).json.dashboards) do
            checks[i] = http.check(dashboard.url)
        end
        return checks
    end)
    gate("Confirm rollback scripts are ready", function()
        return { expect("release to go back to", service:status().release):exists(), switch:is(false) }
    end)
    tell("team", "Deployment of TERP %s to %s starts in 30 minutes.", version, run.environment)
end)

-- ---- Deployment Steps ----

local standard_window = { days = "Tue-Thu", from = "22:00", to = "02:00", tz = "America/New_York", max = "4h" }

local before = stage("Deployment Steps", { window = production and standard_window or nil }, function()
    local before = step("Measure the baseline", function()
        return { release = service:status().release, metrics = measured:measure(), errors = #service:log("level=error") }
    end)

    -- Runs last of all that is rolled back: customers are in again.
    rollback("Verification with customers", function()
        gate("Error rates normalized", { within = "5m", every = "5s", needs = 2 }, function()
            return measured:rises_at_most({ errors = "5%", latency = "50%" }, before.metrics)
        end)
    end)

    stage("Step 1: Announce Maintenance", function()
        note(contacts)
        local begins = run.now()
        for _, channel in ipairs { "team", "stakeholders" } do
            tell(channel, "📢 %s Deployment Starting\nEnvironment: %s\nEstimated Duration: %s\n"
                .. "Maintenance Window: %s - %s\nContact: %s, %s", Environment, cfg.API_URL, input.estimate, time.format(begins),
                time.format(begins + time.duration(input.estimate)), run.operator, input.contact)
        end
    end)

    stage("Step 2: Enable Maintenance Mode", function()
        step("Enable maintenance mode", { undo = function() switch:disable() end }, function() switch:enable() end)
        gate("Customers see maintenance", function()
            return { switch:is(true), http.check(cfg.API_URL .. "/dashboard", { status = 503 }) }
        end)
    end)

    app.before = step("Look at the data", { idempotent = true }, function() return smoke.data(app) end)
    local backup = back_up("in-maintenance", true)
    step("Check out " .. version, { idempotent = true }, function()
        sh.run { "git", "fetch", "--quiet", "--tags", "origin", cwd = cfg.TERP_CHECKOUT }
        sh.run { "git", "checkout", "--quiet", "--detach", version, cwd = cfg.TERP_CHECKOUT }
    end)

    -- The checklist's order: the application goes back first, by the deployment's undo; maintenance ends last, by its own.
    rollback("Rollback Procedure", { budget = "15m" }, function()
        step("Re-enable maintenance mode if needed", function() switch:enable() end)
        -- With customers in again, they have written what a restore takes away: it asks before it does that.
        step("Database Rollback", { when = run.begun "Run migrations with logging", timeout = "1h" }, function()
            return db:restore(backup, { role = "technical lead" })
        end)
        gate("Application is responding", { within = "2m", every = "1s" }, function()
            return http.check(cfg.API_URL .. "/health", { json = { path = "status", equals = "ok" } })
        end)
        smoke.test(app, "Data is intact", { "Recent data is visible", "No data corruption detected",
            "Calculations are correct" })
        smoke.test(app, "Core features work", { "User login works", "Dashboard loads with real data",
            "Orders list displays correctly", "Create new order works", "Inventory operations work", "Client management works" })
    end)

    stage("Step 3: Apply Database Migrations", { when = input.schema_change }, function()
        local log = cfg.BACKUP_DIR .. "/migration_" .. run.id .. ".log"
        step("Run migrations with logging", { timeout = "30m" }, function()
            db:wrote()
            return pnpm:logged("db:push", log)
        end)
        gate("Verify schema", function() return pnpm:check "validate:schema" end)
    end)

    stage("Step 4: Deploy Application", function()
        step("Deploy to " .. run.environment, {
            timeout = "20m",
            done = function() return service:runs(version) end,
            undo = function() service:back_to(before.release) end,
        }, function() return service:deploy() end)
        gate("The release runs", { within = "2m", every = "1s" }, function() return runs(cfg.API_URL) end)
    end)

    stage("During Deployment", function()
        gate("Monitor database connection pool", function()
            local pool = measured:measure().pool
            return expect("connections used", pool.used):below(pool.size)
        end)
        gate("Check memory and CPU usage", { within = "2m", every = "5s" }, function() -- a peak is no trend
            local now = measured:measure()
            return { expect("memory", now.memory_mb):rises_at_most("50%", before.metrics.memory_mb),
                expect("CPU in percent", now.cpu_percent):below(90) }
        end)
        gate("Review application logs in real-time", function()
            return expect("errors in the log", #service:log("level=error")):equals(0)
        end)
    end)

    stage("Step 5: Production Smoke Tests", function()
        smoke.test(app, "Authentication", { "User login works", "Session persistence works", "Logout works" })
        smoke.test(app, "Core Features", { "Dashboard loads with real data", "Orders list displays correctly",
            "Create new order works", "Inventory operations work", "Client management works" })
        smoke.test(app, "API Health", { "Health endpoint", "tRPC endpoints responding", "No 5xx errors in logs" })
        smoke.test(app, "Data Integrity", { "Recent data is visible", "No data corruption detected",
            "Calculations are correct" })
    end)

    stage("Production Smoke Test Checklist", function()
        smoke.test(app, "Authentication & Authorization", { "Login with valid credentials", "Logout functionality",
            "Role-based access control working" })
        smoke.test(app, "Orders Module", { "View orders list", "Create new order", "Edit existing order",
            "Order status updates work" })
        smoke.test(app, "Inventory Module", { "View inventory list", "Batch management works",
            "Stock updates reflect correctly" })
        smoke.test(app, "Client Module", { "View client list", "Client details page loads", "Client notes work" })
        smoke.test(app, "Calendar Module", { "Calendar view loads", "Events display correctly", "Event creation works" })
        smoke.test(app, "Reporting", { "Dashboard metrics load", "Export functionality works" })
    end)

    stage("Step 6: Disable Maintenance Mode", function()
        step("Disable maintenance mode", function() switch:disable() end)
        gate("Customers are in again", function() return switch:is(false) end)
    end)

    stage("Step 7: Post-Deployment Verification", function()
        local patient = { within = "5m", every = "2s" } -- until the first measurements are in

        -- "Critical functionality broken" and "Data integrity issues" are the smoke tests; a vulnerability or a complaint that
        -- a person hears of is `rollouthost rollback`, at any time.
        soak("Decision Criteria for Rollback", { duration = input.watch, every = input.watch_every, failures = 1 }, function()
            return measured:rises_at_most({ errors = "5%", latency = "50%" }, before.metrics)
        end)
        gate("Monitor error rates (should be at or below baseline)", patient, function()
            return measured:rises_at_most({ errors = "0%", latency = "50%" }, before.metrics)
        end)
        gate("Check application performance metrics", patient, function()
            return expect("p95", measured:measure().p95_ms):below(1000, "ms")
        end)
        gate("Verify all services are healthy", function()
            local checks = {}
            for name, state in pairs(http.get(cfg.API_URL .. "/health").json.services) do
                checks[#checks + 1] = expect(name, state):equals("ok")
            end
            return checks
        end)
        checklist("Confirm with users and security", { "No user-reported issues", "No security vulnerability discovered" },
            { only = "production" })
    end)

    tell("team", "TERP %s is in %s. The rollback criteria held for %s.", version, run.environment, input.watch)
    return before
end)

-- ---- Monitoring ----

stage("Post-Deployment (First 24 Hours)", { only = "production" }, function()
    confirm "Set up alerts for anomaly detection"
    -- By then customers have written what a restore would lose: a person decides.
    soak("Review error logs and spot-check every 4 hours", {
        duration = input.aftercare, every = input.spot_checks, on_failure = "ask",
    }, function()
        local checks = measured:rises_at_most({ errors = "5%", latency = "50%" }, before.metrics)
        checks[#checks + 1] = http.check(cfg.API_URL .. "/health")
        checks[#checks + 1] = expect("errors in the log", #service:log("level=error")):at_most(before.errors + 10)
        return checks
    end)
    confirm "Monitor user feedback channels"
end)

return { version = version }
