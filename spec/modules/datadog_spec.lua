local json = require "dkjson"
local datadog = require "spec.world.datadog"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("datadog", function()
    local service, play

    before_each(function()
        service = datadog.start("s3same-api-key", "s3same-app-key")
        play = plays(([[
            local datadog = require "rollout.datadog"
            playbook "spec" { environments = { "test" } }
            local account = datadog.account { api_key = secret "API", app_key = secret "APP", url = %q }
        ]]):format(service.url), { API = "s3same-api-key", APP = "s3same-app-key" })
    end)

    local function series(scope, ...)
        local points = {}
        for i, value in ipairs { ... } do
            points[i] = { 1700000000000 + i * 1000, value or json.null }
        end
        return { metric = "errors", scope = scope, pointlist = points }
    end

    it("asks for metrics", function()
        service.series = { series("service:shop", 1, 3, false) }
        local value = assert(play.step [[
            return { all = account:query "sum:errors{*}", last = account:value("sum:errors{*}", { since = "10m" }) }
        ]])
        assert.equal(3, value.last)
        assert.same({ { 1700000001000, 1 }, { 1700000002000, 3 } }, value.all[1].values)
        assert.equal(600, tonumber(service.last().query.to) - tonumber(service.last().query.from))
        service.series = { series("a", 1), series("b", 1) }
        local _, problem = play.step 'account:value "sum:errors{*} by {service}"'
        assert.equal("ambiguous", problem.code)
        _, problem = play.step 'account:value "nonsense"'
        assert.matches("answered 400: %[\"Error parsing query: unable to parse\"%]", problem.message)
    end)

    it("is unknown where there is no data, or nothing usable is answered", function()
        local value = 'return expect("errors", account:value "sum:errors{*}"):at_most(0)'
        assert.equal("unknown", play.checked(value).verdict)
        service.series = { series("a", false) }
        assert.equal("unknown", play.checked(value).verdict)
        service.fail(200, { status = "error", error = "the query took too long" })
        assert.matches("the query took too long", play.checked(value).text)
        stand_in.bad_luck(service, play.gate, value)
        stand_in.bad_luck(service, play.gate, "return account:quiet()")
    end)

    it("holds monitors", function()
        assert.equal("unknown", play.checked 'return account:quiet "service:shop"'.verdict)
        assert.equal("service:shop", service.last().query.monitor_tags)
        service.monitors = { { name = "Latency", overall_state = "OK" }, { name = "Errors", overall_state = "OK" } }
        local found, result = play.checked "return account:quiet()"
        assert.same({ "pass", "2 monitors are OK" }, { found.verdict, found.text })
        play.hides(result, "s3same")
        service.monitors[1].overall_state = "No Data"
        found = play.checked "return account:quiet()"
        assert.same({ "unknown", true }, { found.verdict, found.text:find "Latency %(No Data%)" ~= nil })
        service.monitors[2].overall_state = "Alert"
        found = play.checked "return account:quiet()"
        assert.same({ "fail", 1, "1 of 2 monitors: Errors (Alert)" }, { found.verdict, found.measured, found.text })
    end)

    it("notes an event, once", function()
        local value = assert(play.step [[
            return account:event { title = "shop v2", text = "by hand", tags = { "service:shop" }, kind = "success",
                group = "shop" }
        ]])
        assert.equal("7000000000000000", value.id)
        local event = service.events[1]
        assert.same({ "shop v2", "by hand", "success", "shop", "service:shop" }, { event.title, event.text, event.alert_type,
            event.aggregation_key, event.tags[1] })
        local function posts(request) return request.method == "POST" end
        local result = play.killed(service, posts, 'account:event { title = "once" }')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(2, #service.events)
        assert.is_truthy(play.lost(service, posts, 'account:event { title = "answered by a proxy" }'))
        assert.equal(3, #service.events)
        service.slow = true
        local _, problem = play.lost(service, posts, 'account:event { title = "who knows" }')
        assert.equal("unavailable", problem.code)
        result = play.killed(service, posts, 'account:event { title = "who knows" }')
        assert.equal(7, result.code, result.out .. result.err)
        assert.equal(5, #service.events)
    end)

    it("says what it would do, and whose keys are wrong", function()
        assert.matches("note in Datadog: shop v2", play.plan 'account:event { title = "shop v2" }')
        service.fail(403, { errors = { "Forbidden" } })
        local _, problem = play.step 'account:query "x"'
        assert.same({ "access_denied", true }, { problem.code, problem.message:find "of one organization" ~= nil })
    end)
end)
