-- The language's first example restores a database right in the body of `rollback`. It was refused as misplaced, when the run was
-- unwinding: what had failed stayed as it was, exit 4.
local t = require "spec.helper"

local PLAYBOOK = [[
local fs, sh = require "rollout.fs", require "rollout.sh"
playbook "demo" { environments = { "staging" } }
on.rolled_back(function() sh.run "echo told >> ledger" end)
local made = step("do", function() return fs.write("done", "yes") end)
rollback("back", function()
    sh.run "echo first >> ledger"
    local was = fs.read(made.path)
    sh.run("echo " .. was .. " >> ledger; until test -e go; do sleep 0.05; done; echo last >> ledger")
    step("more", function() sh.run "echo more >> ledger" end)
end)
step("break", function() fail "broken" end)
]]

describe("effects that stand by themselves in a rollback and a hook", function()
    local path, folder

    before_each(function()
        path, folder = t.playbook(PLAYBOOK, "demo")
    end)

    local function host(...)
        return t.host { cwd = folder, state = folder .. "/state", ... }
    end

    local function ledger()
        return t.exists(folder .. "/ledger") and t.read(folder .. "/ledger"):gsub("\n", " ") or ""
    end

    it("are done, in written order, and described in a plan", function()
        t.write(folder .. "/go", "")
        local result = host(path)
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("first yes last more told ", (ledger()))
        result = host("plan", path)
        assert.equal(0, result.code, result.out .. result.err)
        assert.matches("rollback back.*step sh%.run.*echo first.*step fs%.read.*read done.*step more", result.out)
    end)

    it("are done once, also where the host dies among them", function()
        local process = t.start_host { path, cwd = folder, state = folder .. "/state" }
        t.eventually("the second command", function() return (ledger()):find "yes" end)
        process:kill "sigkill"
        process:wait()
        t.write(folder .. "/go", "")
        local result = host "resume"
        assert.equal(3, result.code, result.out .. result.err)
        assert.equal("first yes last more told ", (ledger()))
    end)
end)
