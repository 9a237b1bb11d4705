local pagerduty = require "spec.world.pagerduty"
local plays = require "spec.modules.service_play"

describe("pagerduty", function()
    local service, play

    setup(function()
        service = pagerduty.start "s3same-routing-key"
        play = plays(([[
            local pagerduty = require "rollout.pagerduty"
            local wrong = secret "WRONG"
            local duty = pagerduty.service { routing_key = secret "KEY", source = "shop", url = %q }
            playbook "spec" { environments = { "test" }, notify = { team = duty:channel "error" } }
        ]]):format(service.url), { KEY = "s3same-routing-key", WRONG = "s3same-wrong-key" })
    end)

    it("triggers, acknowledges and resolves one incident", function()
        local value, _, result = play.step [[
            local incident = duty:trigger { summary = ("ä"):rep(1000), severity = "error", component = "db", key = "shop-db",
                details = { rows = 12 }, links = { ["the run"] = "https://ci.example/1" } }
            duty:trigger { summary = "again", key = incident.key }
            return incident
        ]]
        assert.equal("shop-db", value.key)
        local incident = service.incidents["shop-db"]
        assert.same({ "triggered", 2 }, { incident.status, incident.times })
        assert.same({ "shop", "error", "db", 12 }, { incident.payload.source, incident.payload.severity, incident.payload.component,
            incident.payload.custom_details.rows })
        assert.same({ { href = "https://ci.example/1", text = "the run" } }, incident.links)
        assert.is_true(#incident.payload.summary <= 1024 and utf8.len(incident.payload.summary) ~= nil)
        play.hides(result, "s3same-routing-key")
        assert(play.step 'return duty:acknowledge { key = "shop-db" }')
        assert.equal("acknowledged", incident.status)
        assert(play.step 'return duty:resolve "shop-db"')
        assert.equal("resolved", incident.status)
    end)

    it("calls once, however often it is sent", function()
        service.fail(500, "oops")
        service.fail(429, "slow down", { ["Retry-After"] = "1" })
        local value = assert(play.step 'return duty:trigger { summary = "disk full" }')
        assert.matches("^rollout%-%x+$", value.key)
        assert.equal(1, service.incidents[value.key].times)
    end)

    it("is a channel: one incident a run", function()
        local result = play.run 'notify "first" notify "second"'
        assert.equal(0, result.code, result.err)
        local found
        for key, incident in pairs(service.incidents) do
            found = key:find "^rollout%-spec%-" and incident or found
        end
        assert.same({ "first", 2, "error" }, { found.payload.summary, found.times, found.payload.severity })
        assert.equal("spec", found.payload.custom_details.playbook)
    end)

    it("notes a change", function()
        assert(play.step 'return duty:change { summary = "shop v2", details = { version = "v2" } }')
        assert.same({ "shop v2", "shop" }, { service.changes[1].summary, service.changes[1].source })
    end)

    it("says what it would do, and what is wrong", function()
        assert.matches("call PagerDuty: disk full %(critical%)", play.plan 'duty:trigger { summary = "disk full" }')
        local _, problem = play.step(('pagerduty.service { routing_key = wrong, url = %q }:resolve "x"'):format(service.url))
        assert.equal("refused", problem.code)
        assert.matches("answered 400: Event object is invalid %(is it the integration key", problem.message)
        service.fail(200, { hello = 1 })
        _, problem = play.step 'duty:resolve "x"'
        assert.matches("what answered is no PagerDuty", problem.message)
        _, problem = play.step "duty:resolve(42)"
        assert.matches("takes what trigger%(%) returned", problem.message)
        _, problem = play.step 'duty:trigger { summary = "x", severity = "bad" }'
        assert.matches("severity", problem.message)
    end)
end)
