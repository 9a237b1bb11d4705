-- See spec/faults/terp.lua: the release's orders do not work, so it is rolled back, killed at its commits on the way there and
-- back.
local terp, faults = require "spec.world.terp", require "spec.faults.terp"

describe("TERP's rollback, killed at its commits,", function()
    it("undoes each thing once, in order, and the tables are what they were", function()
        terp.up "smoke"
        terp.stage_release()
        local before = terp.fingerprint()
        local code, runs = faults.rollout()
        assert(code == 3, runs.said:sub(-5000))
        assert.same(faults.expected("rollback v1.4.0", "maintenance off", "team: 📢 Production Rollback Completed",
            "stakeholders: 📢 Production Rollback Completed"), faults.happened())
        assert.equal(before, terp.fingerprint())
        assert.equal("v1.4.0", terp.version())
        faults.assert_sound(runs)
    end)
end)
