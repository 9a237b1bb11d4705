-- TERP's stand-in world by itself: what the playbook's specs take for granted.
local t = require "spec.helper"
local json = require "dkjson"

local world = "spec/world/terp/world"
local here, env

local function run(command)
    local result = t.run(command)
    assert(result.code == 0, result.out .. result.err)
    return result.out
end

local function get(path, token)
    local command = { "curl", "-sS", "-w", "\n%{http_code}", env.API_URL .. path }
    if token then
        command[#command + 1], command[#command + 2] = "-H", "Authorization: Bearer " .. token
    end
    local body, status = run(command):match("^(.*)\n(%d+)$")
    return tonumber(status), json.decode(body) or body
end

local function post(path, body, token)
    local command = { "curl", "-sS", "-w", "\n%{http_code}", "-d", next(body) and json.encode(body) or "{}", env.API_URL .. path }
    if token then
        command[#command + 1], command[#command + 2] = "-H", "Authorization: Bearer " .. token
    end
    local text, status = run(command):match("^(.*)\n(%d+)$")
    return tonumber(status), json.decode(text) or text
end

local function login(who)
    local status, answer = post("/auth/login", { email = who .. "@terp.test", password = env.SMOKE_PASSWORD })
    assert.equal(200, status)
    return answer.token
end

local function tool(...)
    return t.run { env.bin .. "/" .. (...), cwd = env.TERP_CHECKOUT,
        env = { PATH = env.bin .. ":" .. os.getenv("PATH"), DATABASE_URL = env.DATABASE_URL,
            RAILWAY_TOKEN = env.RAILWAY_TOKEN }, table.unpack({ ... }, 2) }
end

local function checkout(tag)
    run { "git", "-C", env.TERP_CHECKOUT, "checkout", "-q", tag }
end

local function maintenance(state)
    local status = post("/admin/maintenance/" .. state, {}, env.ADMIN_TOKEN)
    assert.equal(200, status)
end

local function ledger()
    local lines = {}
    for line in t.read(here .. "/ledger"):gmatch("[^\n]+") do
        lines[#lines + 1] = line:gsub("^%S+\t", ""):gsub("\t", " ")
    end
    return lines
end

-- Sessions come and go with every login.
local function fingerprint()
    return (run { world, "fingerprint", here, "production" }:gsub("sessions [^\n]*\n", ""))
end

local function up()
    here = t.temp() .. "/world"
    local there = here
    t.finally(function() t.run { world, "down", there } end)
    run { world, "up", here }
    env = { bin = here .. "/bin" }
    for name, value in run { world, "env", here, "production" }:gmatch("([%u_]+)=([^\n]*)") do
        env[name] = value
    end
end

describe("TERP's world, as it stands", function()
    lazy_setup(up)

    it("answers what the database holds", function()
        local token = login "smoke-admin"
        local status, page = get("/dashboard", token)
        assert.equal(200, status)
        assert.equal(3000, page.orders)
        local _, sales = get("/reports/sales", token)
        local revenue = 0
        for _, month in ipairs(sales.months) do
            revenue = revenue + month.revenue_cents
        end
        assert.equal(page.revenue_cents, revenue)
        assert.equal(403, (get("/admin/users", login "smoke-clerk")))
        assert.equal(401, (get "/orders"))
    end)

    it("takes back what a test account wrote", function()
        local before = fingerprint()
        local token = login "smoke-admin"
        local order = { reference = "r1", items = { { batch = "SMOKE", quantity = 2 } } }
        local _, first = post("/orders", order, token)
        local _, again = post("/orders", order, token)
        assert.equal(first.id, again.id)
        assert.are_not.equal(before, fingerprint())
        run { "curl", "-sf", "-X", "DELETE", env.API_URL .. "/smoke/r1", "-H", "Authorization: Bearer " .. token }
        assert.equal(before, fingerprint())
    end)

    it("lets only test accounts in during maintenance", function()
        assert.equal(401, (post("/admin/maintenance/enable", {}, "wrong")))
        maintenance "enable"
        assert.equal(503, (get "/dashboard"))
        assert.equal(200, (get("/dashboard", login "smoke-clerk")))
        local ordered = t.run { world, "order", here, "production" }
        assert.are_not.equal(0, ordered.code)
        maintenance "disable"
        run { world, "order", here, "production" }
        local lines = ledger()
        assert.matches("^maintenance production off$", lines[#lines - 1])
        assert.matches("^order production ", lines[#lines])
    end)

    it("keeps every message, and refuses what Slack refuses", function()
        local function say(url, body)
            return run { "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", body, url }
        end
        assert.equal("200", say(env.SLACK_TEAM_URL, '{"text":"two\\nlines"}'))
        assert.equal("400", say(env.SLACK_TEAM_URL, "{}"))
        assert.equal("403", say((env.SLACK_TEAM_URL:gsub("[^/]+/team$", "wrong/team")), '{"text":"x"}'))
        local kept = json.decode(t.read(here .. "/slack.jsonl"))
        assert.equal("two\nlines", kept.text)
    end)
end)

describe("TERP's world, when it changes", function()
    before_each(up)

    it("migrates, deploys and goes back", function()
        checkout "v1.5.0"
        assert.equal(1, tool("pnpm", "validate:schema").code)
        assert.equal(0, tool("pnpm", "db:push").code)
        assert.equal(0, tool("pnpm", "validate:schema").code)
        assert.equal(0, tool("railway", "deploy", "--environment", "production").code)
        local _, found = get "/version"
        assert.equal("v1.5.0", found.version)
        assert.equal(0, tool("railway", "rollback", "--environment", "production").code)
        _, found = get "/version"
        assert.equal("v1.4.0", found.version)
        assert.are_not.equal(0, tool("railway", "rollback", "--environment", "production").code)
        assert.same({ "migration production 0002_order_channel.sql", "deploy production v1.5.0",
            "rollback production v1.4.0" }, ledger())
    end)

    it("leaves half a migration and wrong rows where that is the fault", function()
        run { world, "fault", here, "migration" }
        checkout "v1.5.0"
        assert.equal(1, tool("pnpm", "db:push").code)
        assert.equal(1, tool("pnpm", "validate:schema").code)
        local _, report = get("/reports/integrity", login "smoke-admin")
        assert.is_true(report.wrong_totals > 1000)
        assert.is_true(report.orders_without_items > 0)
    end)

    it("shows a release that cannot list orders", function()
        run { world, "fault", here, "smoke" }
        checkout "v1.5.0"
        assert.equal(0, tool("pnpm", "db:push").code)
        assert.equal(0, tool("railway", "deploy", "--environment", "production").code)
        local token = login "smoke-admin"
        assert.equal(500, (get("/orders", token)))
        assert.equal(200, (get("/clients", token)))
        assert.matches("level=error GET /orders 500", tool("railway", "logs", "--environment", "production").out)
    end)

    it("shows rising errors to customers alone", function()
        run { world, "fault", here, "errors" }
        checkout "v1.5.0"
        assert.equal(0, tool("pnpm", "db:push").code)
        local deployed = tool("railway", "deploy", "--environment", "production")
        assert(deployed.code == 0, deployed.out .. deployed.err)
        local found = t.eventually("errors among the customers' requests", function()
            local _, metrics = get "/metrics?window=2s"
            return metrics.requests > 10 and metrics.error_rate > 0.1 and metrics
        end)
        assert.is_true(found.errors > 0)
        local token = login "smoke-admin"
        for _ = 1, 6 do
            assert.equal(200, (get("/orders", token)))
        end
    end)

    it("leaves nothing behind", function()
        run { world, "down", here }
        assert.is_false(t.exists(here))
        assert.equal(7, t.run { "curl", "-s", env.API_URL .. "/health" }.code)
    end)
end)
