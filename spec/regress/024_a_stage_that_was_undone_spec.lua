-- on_failure = "stage" undid the stage, named what was undone, and the line above said that nothing was rolled back.
local play = require "spec.host.play"
local t = require "spec.helper"

describe("a run that stops behind an undone stage", function()
    local function ended(body)
        local path, folder = t.playbook(play.text(body), "demo")
        local result = t.host { path, "--env", "staging", "--output", "plain", cwd = folder, state = folder .. "/state" }
        assert.equal(1, result.code, result.out .. result.err)
        return result.out
    end
    it("says so", function()
        local said = ended [[
            stage("flag", function()
                step("half", { undo = function() note "none" end }, function() note "half" end)
                gate("errors", { on_failure = "stage" }, function() return expect("errors", 2):below(1) end)
            end)
        ]]
        assert.matches("END   Stopped; only its stage was undone, exit 1", said, 1, true)
        assert.matches("undone: undo half", said, 1, true)
    end)
    it("says that nothing was where nothing was", function()
        local said = ended [[gate("errors", function() return expect("errors", 2):below(1) end)]]
        assert.matches("END   Stopped; nothing was rolled back, exit 1", said, 1, true)
    end)
end)
