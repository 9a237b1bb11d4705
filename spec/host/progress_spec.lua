-- How far an effect is: ctx.progress, on the terminal and as JSON lines.
local module = require "spec.world.module"
local play = require "spec.host.play"
local t = require "spec.helper"

-- far.go(): 40 rows in about 2 s, each told three times. far.twice(): all of one thing, then all of another, at once.
local FAR = [[
local native, rt = ...
return { go = rt.effect { name = "far.go", class = "read", args = function() return {} end,
    call = function(_, ctx)
        for i = 1, 40 do
            rt.require("sh").read { "sleep", "0.05" }
            for _ = 1, 3 do ctx.progress(i, 40, "rows") end
        end
        return 1
    end },
    twice = rt.effect { name = "far.twice", class = "read", args = function() return {} end,
    call = function(_, ctx)
        for _ = 1, 2 do ctx.progress(100, 100, "bytes") end
        for _ = 1, 2 do ctx.progress(3, 3, "tables") end
        return 1
    end } }
]]

local BODY = 'local far = require "rollout.far" step("count", function() far.go() end)'

local env

setup(function() env = { ROLLOUTHOST_MODULES = module.build("far", FAR) } end)

describe("progress of an effect", function()
    it("is said at most 4 times a second, and at its end", function()
        local result = play.run(BODY, { env = env })
        assert.equal(0, result.code, result.out .. result.err)
        local list = result:events "progress"
        local ms = result:last("step.end", "count").ms
        assert.truthy(#list >= 4 and #list <= ms / 250 + 2, #list)
        assert.equal("count", select(2, result:last "progress").key)
        assert.same({ done = 40, total = 40, unit = "rows" }, (result:last "progress"))
        assert.is_nil(t.host({ "show", play.id(result), "--output", "json", state = result.state }).out:find('"progress"', 1, true))
    end)

    it("says the end of each thing that is counted, however soon it comes after the one before", function()
        local result = play.run('local far = require "rollout.far" step("count", function() far.twice() end)', { env = env })
        assert.equal(0, result.code, result.out .. result.err)
        local told = {}
        for i, event in ipairs(result:events "progress") do told[i] = event.payload end
        assert.same({ { done = 100, total = 100, unit = "bytes" }, { done = 3, total = 3, unit = "tables" } }, told)
    end)

    it("stands under its step on a terminal, with rate and time left", function()
        local path, folder = t.playbook(play.text(BODY), "demo")
        local command = ("%s %s --env staging --state %s/state"):format(t.binary, path, folder)
        local run = t.start { "script", "-qec", command, "/dev/null", cwd = folder,
            env = { TERM = "xterm", NO_COLOR = "1", ROLLOUTHOST_MODULES = env.ROLLOUTHOST_MODULES } }
        run:wait()
        assert.equal(0, run.code, run.out)
        assert.matches("█[█░]*░ +%d+%%  %d+ of 40 rows  [%d.]+/s  %d+s left", run.out)
    end)
end)
