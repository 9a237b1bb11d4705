-- The shapes: https://prometheus.io/docs/prometheus/latest/querying/api/
local t = require "spec.helper"
local prometheus = require "spec.world.prometheus"
local stand_in = require "spec.world.stand_in"

local METRICS = [[
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code="200",path="/a \"b\" \\"} 90
requests_total{code="500",path="/"} 7 1395066363000
errors_now 7
errors_total{kind="a"} 1
errors_total{kind="b"} 2
idle NaN
]]

local PLAY = [[
    local prometheus = require "rollout.prometheus"
    playbook "spec" { environments = { "test" } }
    local server = prometheus.server { url = %q }
    %s
]]

local function play(url, text)
    return t.play(PLAY:format(url, text))
end

local function step(url, text)
    return t.outcome(play(url, ('return step("it", function() %s end)'):format(text)))
end

local function gate(url, text)
    return play(url, ('gate("it", function() %s end)'):format(text))
end

-- The expectations of the gate's last check.
local function checked(result)
    local found
    for _, event in ipairs(result.events) do
        found = event.type == "check" and event.payload or found
    end
    assert(found, result.out .. result.err)
    return found.expectations[1], found
end

describe("prometheus, a real one", function()
    local world

    setup(function()
        world = prometheus.start()
        world.metrics = METRICS
        t.eventually("two scrapes and an evaluation", function()
            local told = t.run { "curl", "-s", world.url .. "/api/v1/rules?type=alert" }.out
            return told:find '"state":"firing"' and #world.app.requests > 3
        end, 30)
    end)

    it("gives series, a number, and nothing where there is nothing", function()
        local value = assert(step(world.url, [[
            local none = server:value "sum(rate(no_such_metric[5m]))"
            return { series = server:query "errors_total", sum = server:value "sum(errors_total)", scalar = server:value "6 * 7",
                none = none == nil, nan = server:value "idle" == nil, inf = server:value "1 / 0" == math.huge,
                empty = #server:query "no_such_metric" }
        ]]))
        assert.equal(2, #value.series)
        assert.equal("a", value.series[1].labels.kind)
        assert.equal(1, value.series[1].value)
        assert.same({ 3, 42, true, true, true, 0 }, { value.sum, value.scalar, value.none, value.nan, value.inf, value.empty })
    end)

    it("gives what was during a time", function()
        local value = assert(step(world.url, [[
            return { now = server:range("errors_now", { since = "5s", step = "1s" }),
                before = #server:range("errors_now", { since = "5s", at = 1000000000000 }) }
        ]]))
        local series = value.now[1]
        assert.is_true(series.count >= 1)
        assert.same({ 7, 7, 7, 7 }, { series.min, series.max, series.mean, series.last })
        assert.equal(series.count, #series.values)
        assert.equal(0, value.before)
    end)

    it("says what is wrong with a query", function()
        local _, problem = step(world.url, 'server:value "sum(("')
        assert.equal("refused", problem.code)
        assert.matches("parse error", problem.message)
        _, problem = step(world.url, 'server:value "errors_total"')
        assert.equal("ambiguous", problem.code)
        assert.matches('gives 2 series, such as errors_total{instance="[^"]*",job="shop",kind="a"}', problem.message)
        _, problem = step(world.url, 'server:value "errors_total[5m]"')
        assert.matches("gives a matrix, not a vector", problem.message)
        _, problem = step(world.url, 'server:range("up", { since = "7d", step = "1s" })')
        assert.matches("at most 11,000 points", problem.message)
    end)

    it("is no pass where there is no data", function()
        local found = checked(gate(world.url, 'return expect("errors", server:value "sum(nothing)"):at_most(0)'))
        assert.equal("unknown", found.verdict)
        assert.matches("gave no data", found.text)
        local result = gate(world.url, 'return expect("errors", server:value "sum(errors_total)"):at_most(3)')
        assert.equal(0, result.code, result.out)
    end)

    it("holds alerts: firing, quiet, no rule, a rule that cannot be evaluated", function()
        local found = checked(gate(world.url, 'return server:quiet { severity = "critical" }'))
        assert.same({ "fail", 1, 0 }, { found.verdict, found.measured, found.limit })
        assert.matches('1 firing: ManyErrors{.*severity="critical"', found.text)
        found = checked(gate(world.url, 'return server:quiet { severity = "page" }'))
        assert.same({ "pass", 0 }, { found.verdict, found.measured })
        found = checked(gate(world.url, 'return server:quiet { severity = "none" }'))
        assert.equal("unknown", found.verdict)
        assert.matches("no such alerting rule", found.text)
        found = checked(gate(world.url, 'return server:quiet { severity = "broken" }'))
        assert.equal("unknown", found.verdict)
        assert.matches("not evaluated: Broken", found.text)
    end)

    it("holds targets", function()
        local found = checked(gate(world.url, 'return server:up { job = "shop" }'))
        assert.same({ "pass", 1, 1 }, { found.verdict, found.measured, found.limit })
        assert.equal("unknown", checked(gate(world.url, 'return server:up { job = "other" }')).verdict)
    end)

    it("reads what an application exposes", function()
        local value = assert(step(world.url, ([[
            local url = %q
            local function requests(labels) return prometheus.scrape(url, "requests_total", { labels = labels }) end
            return { all = requests(), errors = requests { code = "500" }, escaped = requests { path = '/a "b" \\' },
                none = prometheus.scrape(url, "requests") == nil, nan = prometheus.scrape(url, "idle") == nil }
        ]]):format(world.app.url)))
        assert.same({ all = 97, errors = 7, escaped = 90, none = true, nan = true }, value)
    end)

    it("fails a target that is gone", function()
        world.app.fail(500, "gone", nil, 100000)
        t.eventually("a failed scrape", function()
            return t.run { "curl", "-s", world.url .. "/api/v1/query?query=up" }.out:find '"0"'
        end, 30)
        local found = checked(gate(world.url, "return server:up()"))
        assert.same({ "fail", 0, 1 }, { found.verdict, found.measured, found.limit })
        assert.matches("not 127.0.0.1:%d+", found.text)
    end)
end)

describe("prometheus", function()
    it("is unknown where nothing usable is answered", function()
        local service = stand_in.start(function() return 200, {} end)
        stand_in.bad_luck(service, function(text) return gate(service.url, text) end,
            'return expect("x", server:value "x"):at_most(1)')
        stand_in.bad_luck(service, function(text) return gate(service.url, text) end, "return server:quiet()")
        local found = checked(gate(service.url, 'return expect("x", server:value "x"):at_most(1)'))
        assert.matches("what answered is no Prometheus", found.text)
        service.fail(200, { status = "success", warnings = { "store-1 is away" }, data = { resultType = "vector", result = {} } })
        found = checked(gate(service.url, 'return expect("x", server:value "x"):exists()'))
        assert.equal("unknown", found.verdict)
        assert.matches("store%-1 is away", found.text)
        service.fail(200, "<html>sign in</html>")
        local _, problem = step(service.url, ('prometheus.scrape(%q, "x")'):format(service.url))
        assert.equal("protocol", problem.code)
    end)

    it("asks nothing in a plan, and says what it would", function()
        local path, folder = t.playbook(PLAY:format("http://127.0.0.1:1", [[
            step("it", function() return server:value "sum(up)" + 1 end)
        ]]))
        local result = t.host { "plan", path, cwd = folder, state = folder .. "/state" }
        assert.equal(0, result.code, result.err)
        assert.matches("ask http://127.0.0.1:1 for sum%(up%)", result.out)
    end)

    it("refuses what it cannot use", function()
        local _, problem = step("http://127.0.0.1:1", 'prometheus.server { url = "prometheus:9090" }')
        assert.matches("expected http:// or https://", problem.message)
        _, problem = step("http://127.0.0.1:1", "server:value(42)")
        assert.matches("a text in PromQL", problem.message)
    end)
end)
