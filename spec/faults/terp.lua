-- TERP's production rollout, killed before (or within) and after each commit of its journal and resumed each time: what
-- the world has seen is what an undisturbed rollout shows it, each thing once and in order.
--
-- `make matrix` kills at every commit. `make test` kills at every EVERY-th; where it begins is RH_MATRIX_ROUND's, so that
-- a CI that counts its builds there comes round to all of them.
local assert = require "luassert"
local t = require "spec.helper"
local chain = require "spec.faults.chain"
local terp = require "spec.world.terp"

local EVERY = 20

-- One measurement each, over so long a time that the machine's load does not show.
local SHORT = { validated = "0s", window = "1m", watch = "100ms", watch_every = "1m", aftercare = "100ms",
    spot_checks = "1m" }
local ROLES = { "technical lead", "database admin", "on-call engineer", "management" }

local M = {}

local function words()
    local folder, me, roles = terp.folder(), t.run { "id", "-un" }.out:gsub("%s+$", ""), {}
    for i, role in ipairs(ROLES) do
        roles[i] = role .. ": " .. me .. "\n"
    end
    local list = { "playbooks/terp.lua", "--env", "production", "--output", "plain", "--set", "version=v1.5.0",
        "--env-file", t.write(folder .. "/spec.env", terp.run { "spec/world/terp/world", "env", folder, "production" }, "600"),
        "--roles", t.write(folder .. "/spec.roles", table.concat(roles)),
        "--at", os.date("!%Y-%m-%dT%H:%M:%SZ"), "--emergency", "a spec keeps no office hours" }
    for name, value in pairs(SHORT) do
        list[#list + 1], list[#list + 2] = "--set", name .. "=" .. value
    end
    return list
end

-- Only a message may be in doubt; it was sent if its channel shows it.
local function decide(doubt, events)
    assert.equal("http.post", doubt.payload.name, doubt.key)
    local told
    for _, event in ipairs(events) do
        if event.type == "notify.begin" and event.key == doubt.payload.unit then
            told = event.payload
        end
    end
    assert(told, "an effect is in doubt that is no message: " .. doubt.key .. ": " .. doubt.payload.describe)
    for _, entry in ipairs(terp.ledger()) do
        if entry.what == "message" and entry.where == told.to[1] and entry.detail == told.text:match("^[^\n]*") then
            return { "--done", "--reason", "the channel shows it" }
        end
    end
    return { "--retry" }
end

--- Runs it to its end; returns the exit code and the chain.
function M.rollout()
    local every, first = chain.pace(EVERY)
    local runs = chain.new { start = words(), env = { PATH = terp.folder() .. "/bin:" .. os.getenv("PATH") }, cwd = t.root,
        state = terp.folder() .. "/state", every = every, first = first, doubt = decide }
    local code = runs:run()
    print("\n" .. runs:summary())
    return code, runs
end

-- Maintenance, migrations, deployments of production, and all messages but those that call somebody to an approval:
-- they are rather sent twice than never.
function M.happened()
    local lines = {}
    for _, entry in ipairs(terp.ledger()) do
        if entry.what == "message" and entry.detail:find "^terp in production, run " then
            assert(entry.detail:find "waits for ", entry.detail)
        elseif entry.what == "message" then
            lines[#lines + 1] = entry.where .. ": " .. entry.detail
        elseif entry.what ~= "order" and entry.where == "production" then
            lines[#lines + 1] = entry.what .. " " .. entry.detail
        end
    end
    return lines
end

--- Nothing is left behind, nothing secret is shown, the journal is whole.
function M.assert_sound(runs)
    local shown = t.host { "show", runs:id(), "--verify", state = runs.state }
    assert(shown.code == 0, shown.out .. shown.err)
    terp.assert_hidden(runs.said, "the output")
    for _, folder in ipairs { "backups", "mirror" } do
        for _, name in ipairs(t.list(terp.folder() .. "/" .. folder .. "/production")) do
            assert(not name:find "partial", "left behind: " .. name)
        end
    end
    local schemas = terp.run { "mariadb", "--no-defaults", "--batch", "--skip-column-names", "--user=root",
        "--socket=" .. terp.folder() .. "/run/mariadb.sock", "-e", "show databases" }
    assert.is_nil(schemas:find "rh_", schemas)
end

local BEFORE = {
    "stakeholders: Business stakeholder notification: TERP v1.5.0 is going to production.",
    "stakeholders: TERP v1.5.0 will be deployed to production. Estimated duration: 45m. Contact: #terp-rollouts.",
    "team: Deployment of TERP v1.5.0 to production starts in 30 minutes.",
    "team: 📢 Production Deployment Starting",
    "stakeholders: 📢 Production Deployment Starting",
    "maintenance on",
    "migration 0002_order_channel.sql",
    "deploy v1.5.0",
}

--- What happened until the deployment, and then `...`.
function M.expected(...)
    local list = table.move(BEFORE, 1, #BEFORE, 1, {})
    return table.move({ ... }, 1, select("#", ...), #list + 1, list)
end

return M
