-- See spec/faults/terp.lua.
local terp, faults = require "spec.world.terp", require "spec.faults.terp"

describe("TERP's production rollout, killed at its commits,", function()
    it("does each thing once, in order", function()
        terp.up()
        terp.stage_release()
        local code, runs = faults.rollout()
        assert(code == 0, runs.said:sub(-5000))
        assert.same(faults.expected("maintenance off", "team: TERP v1.5.0 is in production. The rollback criteria held for 100ms.",
            "stakeholders: TERP v1.5.0 is in production. Thank you for your patience."), faults.happened())
        assert.equal("v1.5.0", terp.version())
        faults.assert_sound(runs)
    end)
end)
