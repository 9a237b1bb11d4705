-- What TERP's rollout does when it goes wrong: which gate sees it, what is undone in which order, and that the data is what
-- it was, table by table.
require "spec.helper"
local terp = require "spec.world.terp"

local function rolls_back(fault, gate, events, meanwhile)
    terp.up(fault)
    terp.stage_release()
    local before = terp.fingerprint()
    local production = terp.rollout("production", meanwhile)
    assert(production.code == 3, production.out .. production.err)
    assert.matches(gate, production.out)
    assert.same(events, terp.happened "production")
    assert.equal(before, terp.fingerprint())
    assert.equal("v1.4.0", terp.version())
    assert.matches("Production Rollback Completed\nReason: [^\n]+\nCurrent Status: Stable", terp.messages "team")
    assert.matches("Production Rollback Completed", terp.messages "stakeholders")
    return production.out
end

describe("TERP's rollback", function()
    it("restores the database after half a migration", function()
        rolls_back("migration", "db:push` exited with 1", { "maintenance on",
            "migration 0002_order_channel.sql failed half-way", "maintenance off" })
    end)

    it("comes when a smoke test fails", function()
        rolls_back("smoke", "the list of orders is 500", { "maintenance on", "migration 0002_order_channel.sql",
            "deploy v1.5.0", "rollback v1.4.0", "maintenance off" })
    end)

    it("comes when the error rate rises, and asks before it loses an order", function()
        local out = rolls_back("errors", "error rate is", { "maintenance on", "migration 0002_order_channel.sql",
            "deploy v1.5.0", "maintenance off", "rollback v1.4.0", "maintenance on", "maintenance off" },
            function(process)
                process:wait_for("BEGIN soak [^\n]*Decision Criteria for Rollback", 300)
                terp.order()
            end)
        assert.matches("WAIT  approve [^\n]*lose what was written since", out)
    end)
end)
