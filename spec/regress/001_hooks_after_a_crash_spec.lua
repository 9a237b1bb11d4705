-- A crash while unwinding, or after it: the hooks of the resumed run failed with the error that had been rolled back, and
-- nobody heard of the rollback.
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local PLAYBOOK = [[
local sh = require "rollout.sh"
playbook "demo" {
    environments = { "staging" },
    notify = { team = function(message) sh.run { "sh", "-c", 'echo "$1" >>said', "-", message.text } end },
}
on.rolled_back(function() notify "rolled back" end)
on.finished(function() notify "finished" end)
step("change", { undo = function() sh.run { "true" } end }, function() sh.run { "true" } end)
gate("it works", function() return expect("it", 1):equals(2) end)
]]

describe("a rollback that was interrupted", function()
    it("is told of", function()
        local path, folder = t.playbook(PLAYBOOK, "demo")
        local run = chain.new { start = { path, "--output", "plain" }, cwd = folder, state = folder .. "/state" }
        assert.equal(3, run:run(100))
        assert.equal("rolled back\nfinished\n", t.read(folder .. "/said"))
    end)
end)
