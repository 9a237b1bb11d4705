-- A rollback of a run that had succeeded got stuck, or its host died: `resume` said "Succeeded", with exit 0, and undid nothing.
local t = require "spec.helper"

local PLAYBOOK = [[
local fs = require "rollout.fs"
playbook "demo" { environments = { "staging" }, inputs = { slow = { type = "boolean", default = false } } }
rollback("back", function()
    if run.inputs.slow then wait "2s" end
    step("put it back", function()
        if not fs.exists "mended" then fail "not yet" end
        fs.write("undone", "yes")
    end)
end)
step("do", function() fs.write("done", "yes") end)
]]

describe("a rollback of a run that had succeeded", function()
    local path, folder

    before_each(function()
        path, folder = t.playbook(PLAYBOOK, "demo")
    end)

    local function host(...)
        return t.host { cwd = folder, state = folder .. "/state", ... }
    end

    it("is tried again by resume where it got stuck", function()
        assert.equal(0, host(path).code)
        assert.equal(4, host("rollback").code)
        assert.equal(4, host("resume").code)
        t.write(folder .. "/mended", "")
        local result = host "resume"
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("yes", t.read(folder .. "/undone"))
        assert.equal(3, host("resume").code)
    end)

    it("goes on after a crash", function()
        t.write(folder .. "/mended", "")
        assert.equal(0, host(path, "--set", "slow=true").code)
        local process = t.start_host { "rollback", "--output", "plain", cwd = folder, state = folder .. "/state" }
        process:wait_for("WAIT")
        process:kill("sigkill")
        process:wait()
        local result = host "resume"
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("yes", t.read(folder .. "/undone"))
    end)
end)
