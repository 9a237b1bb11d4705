-- A host that died between recording an answer and acting on it: the resumed run asked again, and waited for somebody who
-- had said what there was to say.
local chain = require "spec.faults.chain"
local play = require "spec.host.play"
local t = require "spec.helper"

local PLAYBOOK = [[
playbook "demo" { environments = { "staging" }, roles = { lead = { "%s" } } }
approve("Go", { role = "lead" })
note "went on"
]]

describe("an answer that was recorded before a crash", function()
    it("is not asked for again", function()
        local path, folder = t.playbook(PLAYBOOK:format(play.me()), "demo")
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state" }
        assert.equal(0, run:run(100))
        local counts = {}
        for _, event in ipairs(run:events()) do counts[event.type] = (counts[event.type] or 0) + 1 end
        assert.equal(1, counts["approve.begin"])
        assert.equal(1, counts["approve.answer"])
        assert.equal(1, counts["approve.end"])
    end)
end)
