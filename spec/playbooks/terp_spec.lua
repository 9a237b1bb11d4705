-- TERP's rollout, run as its team would: the real playbook and host, real servers, answers by the real commands.
require "spec.helper"
local terp = require "spec.world.terp"

local SECRETS = { "ADMIN_TOKEN", "SMOKE_PASSWORD", "RAILWAY_TOKEN", "CI_TOKEN" }

describe("TERP's rollout", function()
    it("goes to staging and then to production", function()
        terp.up()
        local staging = terp.rollout "staging"
        assert(staging.code == 0, staging.out)
        local deployed = { "maintenance on", "migration 0002_order_channel.sql", "deploy v1.5.0", "maintenance off" }
        assert.same(deployed, terp.happened "staging")

        local production = terp.rollout "production"
        assert(production.code == 0, production.out)
        assert.same(deployed, terp.happened "production")
        assert.equal("v1.5.0", terp.version())
        assert.matches("📢 Production Deployment Starting\nEnvironment: http", terp.messages "stakeholders")
        assert.matches("\norders 3000 ", terp.fingerprint()) -- no smoke test's order is left

        terp.assert_hidden(staging.out .. production.out, "the output")
        for _, name in ipairs(SECRETS) do
            assert(terp.unknown_to_state(terp.variables("production")[name]), name .. " stands in the state folder")
        end
    end)

    it("touches nothing while staging runs another release", function()
        terp.up()
        local before = terp.fingerprint()
        local production = terp.rollout "production"
        assert(production.code == 1, production.out)
        assert.same({}, terp.happened "production")
        assert.equal(before, terp.fingerprint())
    end)
end)
