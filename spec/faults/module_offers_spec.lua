-- What the host offers to modules, killed before (or in the middle of) and after each commit: a question in an effect is
-- asked once and answered once, facts are those of the moment, and what is kept for the run goes.
local chain = require "spec.faults.chain"
local module = require "spec.world.module"
local t = require "spec.helper"

-- keep.make() leaves `scratch`; keep.swap() asks, then appends to `ledger`; its probe looks there. After each step the module
-- notes the ledger; at the run's end the scratch goes.
local KEEP = [[
local native, rt = ...
local M = {}
local function ledger() return rt.require("sh").read("cat ledger 2>/dev/null || true").out end
M.make = rt.effect { name = "keep.make", class = "idempotent", args = function() return {} end,
    call = function(_, ctx)
        ctx.progress(1, 2, "tables")
        rt.require("sh").run "touch scratch"
        return { made = true }
    end }
M.swap = rt.effect { name = "keep.swap", class = "probed", args = function(name) return { name = name } end,
    call = function(args, ctx)
        local said = ctx.approve { question = "Lose 12 rows of " .. args.name .. "?",
            evidence = { rows = #rt.recorded "keep.make" } }
        rt.require("sh").run("echo " .. args.name .. " >> ledger")
        return { by = said.by }
    end,
    probe = function(args)
        if ledger():find(args.name, 1, true) then return "done", { by = "probe" } end
        return "undone"
    end }
M.drop = rt.effect { name = "keep.drop", class = "idempotent", args = function(status) return { status = status } end,
    call = function() rt.require("sh").run "rm -f scratch" end }
rt.after_step(function(info) return { ledger = ledger(), changed = info.changed } end)
rt.at_run_end(function(status) if #rt.recorded "keep.make" > 0 then M.drop(status) end end)
return M
]]

local PLAYBOOK = [[
local keep = require "rollout.keep"
playbook "offers" { environments = { "staging" }, inputs = { red = { type = "boolean" } } }
rollback("put back", function() step("restore", function() return keep.swap "before" end) end)
step("back up", function() return keep.make() end)
step("change", function() return keep.swap "after" end)
gate("well", function() return not run.inputs.red end)
]]

local function rollout(red)
    local folder = t.temp()
    local path = t.playbook(PLAYBOOK, "offers", folder)
    local run = chain.new { start = { path, "--env", "staging", "--output", "plain", "--set", "red=" .. red },
        env = { ROLLOUTHOST_MODULES = module.build("keep", KEEP) }, cwd = folder, state = folder .. "/state" }
    local code = run:run(1000)
    print("\nred " .. red .. ": " .. run:summary())
    return code, run, folder
end

-- How many events of that type each key has.
local function counted(events, type)
    local counts = {}
    for _, event in ipairs(events) do
        if event.type == type then counts[event.key] = (counts[event.key] or 0) + 1 end
    end
    return counts
end

local function assert_offers(run, folder, ledger, questions)
    assert.equal(ledger, t.read(folder .. "/ledger"))
    assert.is_false(t.exists(folder .. "/scratch"))
    local events = run:events()
    for _, type in ipairs { "approve.begin", "approve.answer", "approve.end" } do
        local asked = 0
        for key, count in pairs(counted(events, type)) do
            asked = asked + 1
            assert.equal(1, count, type .. " " .. key)
        end
        assert.equal(questions, asked, type)
    end
    for _, event in ipairs(events) do
        if event.type == "facts" and event.payload.facts and event.key == "back up" then
            assert.same({ ledger = "", changed = true }, event.payload.facts.keep)
        elseif event.type == "facts" and event.payload.facts and event.key == "change" then
            assert.same({ ledger = "after\n", changed = true }, event.payload.facts.keep)
        end
    end
    assert.equal(0, t.host({ "show", run:id(), "--verify", state = run.state }).code)
end

describe("what modules are offered, killed at every commit,", function()
    it("holds in a run that succeeds", function()
        local code, run, folder = rollout "false"
        assert(code == 0, run.said:sub(-4000))
        assert_offers(run, folder, "after\n", 1)
    end)

    it("holds in one that is rolled back", function()
        local code, run, folder = rollout "true"
        assert(code == 3, run.said:sub(-4000))
        assert_offers(run, folder, "after\nbefore\n", 2)
    end)
end)
