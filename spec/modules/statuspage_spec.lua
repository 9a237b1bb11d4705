local stand_in = require "spec.world.stand_in"
local statuspage = require "spec.world.statuspage"
local plays = require "spec.modules.service_play"

describe("statuspage", function()
    local service, play

    before_each(function()
        service = statuspage.start "s3same-status-key"
        play = plays(([[
            local statuspage = require "rollout.statuspage"
            playbook "spec" { environments = { "test" } }
            local page = statuspage.page { page = "page1", token = secret "KEY", url = %q }
        ]]):format(service.url), { KEY = "s3same-status-key" })
    end)

    it("tells an incident from its beginning to its end", function()
        local value, _, result = play.step [[
            local incident = page:incident { name = "Shop is slow", body = "We look into it", impact = "major",
                components = { API = "partial_outage", shop1 = "degraded_performance" } }
            page:update(incident, { status = "identified", body = "A rollback is under way", notify = false })
            page:update(incident.id, { status = "monitoring" })
            return incident
        ]]
        assert.same({ "i1", "investigating", "https://stspg.io/i1" }, { value.id, value.status, value.url })
        local incident = service.incidents[1]
        assert.same({ "Shop is slow", "monitoring", "major", true }, { incident.name, incident.status, incident.impact,
            incident.notified })
        assert.same({ "monitoring", "identified", "investigating" }, { incident.incident_updates[1].status,
            incident.incident_updates[2].status, incident.incident_updates[3].status })
        assert.equal("A rollback is under way", incident.incident_updates[2].body)
        assert.same({ "partial_outage", "degraded_performance" }, { service.components.api1.status,
            service.components.shop1.status })
        play.hides(result, "s3same-status-key")
        local found = play.checked "return page:operational()"
        assert.equal("fail", found.verdict)
        assert.equal("status page: API partial_outage, Shop degraded_performance", found.text)
        assert(play.step 'page:set { API = "operational", Shop = "operational" } return page:resolve("i1", "All is well")')
        assert.equal("resolved", incident.status)
        assert.equal("pass", play.checked 'return page:operational("API", "Shop")'.verdict)
    end)

    it("tells of maintenance", function()
        local value = assert(play.step [[
            return page:maintenance { name = "Release", from = "2026-03-01T22:00:00Z", to = 1772409600000, body = "An hour" }
        ]])
        assert.equal("scheduled", value.status)
        assert.same({ "2026-03-01T22:00:00Z", "2026-03-02T00:00:00Z" }, { service.incidents[1].scheduled_for,
            service.incidents[1].scheduled_until })
        assert(play.step [[
            return page:update("i1", { status = "in_progress", components = { Shop = "under_maintenance" } })
        ]])
        assert.equal("under_maintenance", service.components.shop1.status)
        assert(play.step 'return page:update("i1", { status = "completed", components = { Shop = "operational" } })')
        assert.same({ "completed", "operational" }, { service.incidents[1].status, service.components.shop1.status })
    end)

    it("finds what a killed run has told: an incident, an update", function()
        for _, body in ipairs { 'page:incident { name = "once" }',
            'page:update("i1", { status = "monitoring", body = "soon" })' } do
            local result = play.killed(service, function(request) return request.method ~= "GET" end, body)
            assert.equal(0, result.code, result.out .. result.err)
        end
        assert.equal(1, #service.incidents)
        assert.equal(2, #service.incidents[1].incident_updates)
        local function changes(request) return request.method ~= "GET" end
        assert.equal("i2", play.lost(service, changes, 'page:incident { name = "answered by a proxy" }').id)
        assert.equal("resolved", play.lost(service, changes, 'page:resolve("i2", "well")').status)
        assert.same({ 2, 2 }, { #service.incidents, #service.incidents[1].incident_updates })
    end)

    it("is unknown where nothing usable is answered", function()
        stand_in.bad_luck(service, play.gate, "return page:operational()")
        service.fail(200, { { hello = 1 } })
        assert.matches("no Statuspage", play.checked "return page:operational()".text)
        assert.equal("unknown", play.checked 'return page:operational("Nothing")'.verdict)
        service.fail(200, setmetatable({}, { __jsontype = "array" }))
        assert.equal("unknown", play.checked "return page:operational()".verdict)
    end)

    it("says what it would do, and what is wrong", function()
        assert.matches("tell users on the status page: Slow %(investigating%)", play.plan 'page:incident { name = "Slow" }')
        assert.matches("tell users on the status page: API operational", play.plan 'page:set { API = "operational" }')
        local _, problem = play.step 'page:set { Shpo = "operational" }'
        assert.matches('no component "Shpo": did you mean "Shop"', problem.message)
        _, problem = play.step 'page:set { Shop = "operatinal" }'
        assert.matches('did you mean "operational"', problem.message)
        _, problem = play.step 'page:update("i9", { status = "resolved" })'
        assert.equal("not_found", problem.code)
        _, problem = play.step 'page:maintenance { name = "x" }'
        assert.matches("what is scheduled has `from` and `to`", problem.message)
        service.fail(420, { error = "Enhance your calm" })
        _, problem = play.step 'page:incident { name = "x" }'
        assert.equal("rate_limited", problem.code)
    end)
end)
