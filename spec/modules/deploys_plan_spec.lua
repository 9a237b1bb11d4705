-- A plan goes through every release there is without touching anything: samples stand where results will be.
local t = require "spec.helper"

describe("the modules that deploy", function()
    it("are planned without an engine, a cluster or a service", function()
        local path, folder = t.playbook(assert(t.read "spec/modules/deploys_plan.lua"))
        local result = t.host { "plan", path, cwd = folder, state = folder .. "/state", env = { PATH = "/nonexistent" } }
        assert.equal(0, result.code, result.out .. result.err)
        for _, line in ipairs { "deploy@web1: ls -l", "copy a to a and 1 more:/b", "k6 run x.js", "systemctl restart x.service",
            "merge pull requests 14, 15 of acme/shop, in this order", "backend: give the traffic to green",
            "compose build of x", "deploy x of a/b to Vercel's production of shop", "rollback srv-1 to",
            "take deployment backend back to" } do
            assert.matches(line, result.out, 1, true)
        end
        assert.is_nil(result.out:find("✘", 1, true))
    end)
end)
