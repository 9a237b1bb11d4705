-- TERP's rollout, run as its team would: the real playbook and host, real servers, answers by the real commands.
local t = require "spec.helper"
local json = require "dkjson"

local world, play = "spec/world/terp/world", "spec/world/terp/play"
local here

local function run(command)
    local result = t.run(command)
    assert(result.code == 0, table.concat(command, " ") .. "\n" .. result.out .. result.err)
    return result.out
end

local function up(fault)
    here = t.temp() .. "/world"
    t.finally(function() t.run { world, "down", here } end)
    run { world, "up", here, "--fault", fault or "none" }
end

local function variables(environment)
    local values = {}
    for name, value in run { world, "env", here, environment }:gmatch("([%u_]+)=([^\n]*)") do
        values[name] = value
    end
    return values
end

local function rollout(environment, ...)
    return t.run { play, here, environment, timeout = 240, ... }
end

-- What production's first gates want: staging at the release, by hand.
local function stage_release()
    local env = variables "staging"
    local given = { PATH = here .. "/bin:" .. os.getenv("PATH"), DATABASE_URL = env.DATABASE_URL,
        RAILWAY_TOKEN = env.RAILWAY_TOKEN }
    run { "git", "-C", env.TERP_CHECKOUT, "checkout", "-q", "v1.5.0" }
    run { here .. "/bin/pnpm", "db:push", cwd = env.TERP_CHECKOUT, env = given }
    run { here .. "/bin/railway", "deploy", "--environment", "staging", cwd = env.TERP_CHECKOUT, env = given }
end

-- What happened in an environment, without messages and orders.
local function happened(environment)
    local lines = {}
    for what, where, detail in t.read(here .. "/ledger"):gmatch("[^\t\n]+\t(%w+)\t(%w+)\t([^\n]*)") do
        if where == environment and what ~= "order" then
            lines[#lines + 1] = what .. " " .. detail
        end
    end
    return lines
end

local function messages(channel)
    local texts = {}
    for line in t.read(here .. "/slack.jsonl"):gmatch("[^\n]+") do
        local message = json.decode(line)
        if message.channel == channel then
            texts[#texts + 1] = message.text
        end
    end
    return table.concat(texts, "\n---\n")
end

-- Sessions come and go with every login.
local function fingerprint()
    return (run { world, "fingerprint", here, "production" }:gsub("sessions [^\n]*\n", ""))
end

local function version()
    return json.decode(run { "curl", "-s", variables("production").API_URL .. "/version" }).version
end

local function assert_hidden(text, where)
    local env = variables "production"
    env.PASSWORD = env.DATABASE_URL:match(":([^:@]+)@")
    for _, name in ipairs { "ADMIN_TOKEN", "SMOKE_PASSWORD", "RAILWAY_TOKEN", "CI_TOKEN", "PASSWORD" } do
        assert(not text:find(env[name], 1, true), name .. " stands in " .. where)
    end
end

describe("TERP's rollout", function()
    it("goes to staging and then to production", function()
        up()
        local staging = rollout "staging"
        assert(staging.code == 0, staging.out)
        assert.same({ "maintenance on", "migration 0002_order_channel.sql", "deploy v1.5.0", "maintenance off" },
            happened "staging")

        local production = rollout "production"
        assert(production.code == 0, production.out)
        assert.same({ "maintenance on", "migration 0002_order_channel.sql", "deploy v1.5.0", "maintenance off" },
            happened "production")
        assert.equal("v1.5.0", version())
        assert.matches("Production Deployment Starting\nEnvironment: production", messages "stakeholders")
        assert.matches("\norders 3000 ", fingerprint()) -- no smoke test's order is left

        assert_hidden(staging.out .. production.out, "the output")
        for _, secret in ipairs { "ADMIN_TOKEN", "SMOKE_PASSWORD", "RAILWAY_TOKEN" } do
            assert.equal(1, t.run { "grep", "-rqF", variables("production")[secret], here .. "/state" }.code)
        end
    end)

    local function rolls_back(fault, gate, events)
        up(fault)
        stage_release()
        local before = fingerprint()
        local production = rollout "production"
        assert(production.code == 3, production.out)
        assert.matches(gate, production.out)
        assert.same(events, happened "production")
        assert.equal(before, fingerprint())
        assert.equal("v1.4.0", version())
        assert.matches("Production Rollback Completed\nReason: [^\n]+\nCurrent Status: Stable", messages "team")
        assert.matches("Production Rollback Completed", messages "stakeholders")
    end

    it("restores the database after half a migration", function()
        rolls_back("migration", "db:push` exited with 1", { "maintenance on",
            "migration 0002_order_channel.sql failed half-way",
            "maintenance off" })
    end)

    it("goes back when a smoke test fails", function()
        rolls_back("smoke", "the list of orders is 500", { "maintenance on", "migration 0002_order_channel.sql",
            "deploy v1.5.0", "rollback v1.4.0", "maintenance off" })
    end)

    it("goes back when the error rate rises", function()
        rolls_back("errors", "error rate is", { "maintenance on", "migration 0002_order_channel.sql", "deploy v1.5.0",
            "maintenance off", "rollback v1.4.0", "maintenance on", "maintenance off" })
    end)

    it("touches nothing while staging runs another release", function()
        up()
        local before = fingerprint()
        local production = rollout "production"
        assert(production.code == 1, production.out)
        assert.same({}, happened "production")
        assert.equal(before, fingerprint())
    end)
end)
