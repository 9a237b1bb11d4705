-- What modules do when a run has come to its end: rt.at_run_end.
local module = require "spec.world.module"
local play = require "spec.host.play"
local t = require "spec.helper"

local CLEAN = [[
local native, rt = ...
local M = {}
M.make = rt.effect { name = "clean.make", class = "unsafe", args = function() return {} end,
    call = function() return {} end, sample = function() return {} end }
local drop = rt.effect { name = "clean.drop", class = "idempotent", args = function(status) return { status = status } end,
    describe = function(args) return "drop what was made (" .. args.status .. ")" end,
    call = function(args)
        rt.require("sh").run("test ! -e broken && echo " .. args.status
            .. " >> ledger; test ! -e slow || sleep 30; test ! -e broken")
    end }
rt.at_run_end(function(status)
    if #rt.recorded "clean.make" > 0 then drop(status) end
end)
return M
]]

local env

setup(function() env = { ROLLOUTHOST_MODULES = module.build("clean", CLEAN) } end)

local function run(text, options)
    options = options or {}
    options.env = env
    return (options.start and play.start or play.run)('local clean, sh = require "rollout.clean", require "rollout.sh"\n' .. text,
        options)
end

local function again(first, ...)
    return play.again(first, { ..., env = env })
end

local function ledger(result)
    local path = result.folder .. "/ledger"
    return t.exists(path) and t.read(path) or ""
end

describe("at a run's end a module", function()
    it("is called when it succeeded, before run.end and while the environment is locked", function()
        local result = run [[
            on.finished(function() step("last", function() sh.run "echo hook >> ledger" end) end)
            step("a", function() clean.make() end)
        ]]
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal("hook\nsucceeded\n", ledger(result))
        local ended, at = result:last("effect.end", "at end#1.1@1.1")
        assert.equal("ok", ended.status)
        assert.truthy(at.seq < select(2, result:last "run.end").seq)
    end)

    it("is not where there is nothing to do, and not in a plan", function()
        local result = run 'step("a", function() end)'
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_nil((result:last "effect.begin"))
        local plan = play.again(result, { "plan", result.path, "--env", "staging", "--format", "json", env = env, raw = true })
        assert.is_nil(plan.out:find("clean.drop", 1, true))
    end)

    it("is called when it was rolled back, and not while it is stopped or stuck", function()
        local back = run [[
            step("a", { undo = function() sh.run "echo undo >> ledger" end }, function() clean.make() end)
            gate("red", function() return false end)
        ]]
        assert.equal(3, back.code, back.out .. back.err)
        assert.equal("undo\nrolled_back\n", ledger(back))
        local stuck = run [[
            step("a", { undo = function() sh.run "test -e mended" end }, function() clean.make() end)
            gate("red", function() return false end)
        ]]
        assert.equal(4, stuck.code)
        assert.equal("", ledger(stuck))
        t.write(stuck.folder .. "/mended", "")
        local resumed = again(stuck, "resume")
        assert.equal(3, resumed.code, resumed.out .. resumed.err)
        assert.equal("rolled_back\n", ledger(stuck))
        local stopped = run [[
            step("a", function() clean.make() end)
            gate("red", { on_failure = "stop" }, function() return false end)
        ]]
        assert.equal(1, stopped.code)
        assert.equal("", ledger(stopped))
        local aborted = again(stopped, "abort")
        assert.equal(1, aborted.code, aborted.out .. aborted.err)
        assert.equal("aborted\n", ledger(stopped))
    end)

    it("is called once more when a run that had succeeded is rolled back", function()
        local result = run [[step("a", { undo = function() sh.run "echo undo >> ledger" end }, function() clean.make() end)]]
        assert.equal(0, result.code)
        local back = again(result, "rollback")
        assert.equal(3, back.code, back.out .. back.err)
        assert.equal("succeeded\nundo\nrolled_back\n", ledger(result))
    end)

    it("that fails leaves a warning, and the run's end is what it was", function()
        local result = run [[step("a", function() clean.make() sh.run "touch broken" end)]]
        assert.equal(0, result.code, result.out .. result.err)
        local warning = result:last "warning"
        assert.matches("rollout.clean could not clean up after the run: ", warning.text, 1, true)
        local shown = t.host { "show", play.id(result), state = result.state }
        assert.matches("rollout.clean could not clean up after the run", shown.out, 1, true)
        assert.equal("succeeded", result:last("run.end").status)
        local back = run [[
            step("a", { undo = function() end }, function() clean.make() sh.run "touch broken" end)
            gate("red", function() return false end)
        ]]
        assert.equal(3, back.code, back.out .. back.err)
        assert.matches("red", back:last("run.end").error.message, 1, true)
        assert.matches("why +gate \"red\"", t.host({ "show", play.id(back), state = back.state }).out)
        local plain = run([[step("a", function() clean.make() sh.run "touch broken" end)]], { output = "plain" })
        assert.equal(0, plain.code, plain.out .. plain.err)
        assert.matches("DO +drop what was made", plain.out)
        assert.matches("WARN +rollout.clean could not clean up", plain.out)
    end)

    it("is called again where it was killed", function()
        local first = run([[step("a", function() clean.make() sh.run "touch slow" end)]], { start = true })
        t.eventually("the cleaning", function() return ledger(first) == "succeeded\n" end)
        first:kill("sigkill")
        first:wait()
        os.remove(first.folder .. "/slow")
        local resumed = again(first, "resume")
        assert.equal(0, resumed.code, resumed.out .. resumed.err)
        assert.equal("succeeded", resumed:last("run.end").status)
        assert.equal("succeeded\nsucceeded\n", ledger(first))
    end)
end)
