-- TERP's production rollout, killed before and after every commit of its journal and resumed each time: what the world
-- has seen is what an undisturbed rollout shows it, each thing once and in order.
--
-- `make matrix` kills at every position. `make test` kills at every EVERY-th; which ones depends on RH_MATRIX_ROUND, so
-- that a CI that counts its builds there comes round to all of them.
local t = require "spec.helper"
local chain = require "spec.faults.chain"
local terp = require "spec.world.terp"

local EVERY = 12
local SHORT = { validated = "0s", window = "1m", watch = "100ms", watch_every = "1m", aftercare = "100ms", spot_checks = "1m" }

local world, runs

-- A message that is in doubt was sent if the receiver has it.
local function decide(doubt, events)
    local unit = doubt.payload.unit
    assert.equal("http.post", doubt.payload.name, doubt.key)
    local told
    for _, event in ipairs(events) do
        if event.type == "notify.begin" and event.key == unit then
            told = event.payload
        end
    end
    assert(told, "an effect is in doubt that is no message: " .. doubt.key .. ": " .. doubt.payload.describe)
    for _, entry in ipairs(world:ledger(told.to[1])) do
        if entry.what == "message" and entry.detail == told.text:match("^[^\n]*") then
            return { "--done", "--reason", "the channel shows it", "--result", '{"status":200}' }
        end
    end
    return { "--retry" }
end

local function rollout()
    local every, first = chain.pace(EVERY)
    runs = chain.new { start = world:rollout("production", SHORT), env = world:env(), cwd = t.root,
        state = world.folder .. "/state", every = every, first = first, doubt = decide }
    local code = runs:run()
    print("\n" .. runs:summary())
    return code
end

-- Maintenance, migrations, deployments of production, and the messages.
local function happened()
    local lines = {}
    for _, entry in ipairs(world:ledger()) do
        if entry.what ~= "order" and (entry.what == "message" or entry.where == "production") then
            lines[#lines + 1] = entry.what .. " " .. (entry.what == "message" and entry.where .. ": " or "") .. entry.detail
        end
    end
    return lines
end

describe("TERP's production rollout, killed at its commits,", function()
    it("does each thing once, in order", function()
        world = terp.up()
        world:stage_release()
        local code = rollout()
        print(table.concat(happened(), "\n")) t.write("/tmp/f_said", runs.said) t.write("/tmp/f_log", t.read(runs.log))
        assert(code == 0, runs.said:sub(-5000))
    end)
end)
