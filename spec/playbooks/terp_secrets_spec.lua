-- TERP's secrets are found nowhere while it is rolled out, and afterwards.
require "spec.helper"
local leaks = require "spec.world.leaks"
local terp = require "spec.world.terp"

describe("TERP's secrets", function()
    it("stand nowhere, whether its rollout succeeds or is taken back", function()
        terp.up("smoke")
        local found = {}
        for _, environment in ipairs { "staging", "production" } do
            local secrets = terp.secrets(environment)
            local needles = leaks.needles(secrets)
            local watcher = leaks.watch(terp.state(), needles)
            local rollout = terp.rollout(environment)
            assert.equal(environment == "staging" and 0 or 3, rollout.code, rollout.out)
            leaks.search(rollout.out .. rollout.err, needles, "the output of " .. environment, found)
            leaks.gather(watcher, found)
        end
        assert(#found == 0, table.concat(found, "\n"))
    end)
end)
