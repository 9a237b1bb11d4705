local grafana = require "spec.world.grafana"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("grafana", function()
    local service, play

    before_each(function()
        service = grafana.start "s3same-grafana"
        play = plays(([[
            local grafana = require "rollout.grafana"
            playbook "spec" { environments = { "test" } }
            local server = grafana.server { url = %q, token = secret "TOKEN" }
        ]]):format(service.url .. "/"), { TOKEN = "s3same-grafana" })
    end)

    it("annotates, from the beginning to the end", function()
        local value, _, result = play.step [[
            local mark = server:annotate { text = "shop v2", tags = { "deploy" }, dashboard = "shop", panel = 4 }
            server:finish(mark, { text = "shop v2, done" })
            return mark
        ]]
        assert.equal(1, value.id)
        local annotation = service.annotations[1]
        assert.same({ "shop v2, done", "deploy", "shop", 4 }, { annotation.text, annotation.tags[1], annotation.dashboardUID,
            annotation.panelId })
        assert.matches("^rollout%-%x+$", annotation.tags[2])
        assert.is_true(annotation.timeEnd >= annotation.time and math.abs(annotation.time / 1000 - os.time()) < 60)
        play.hides(result, "s3same-grafana")
    end)

    it("finds the annotation of a killed run", function()
        local result = play.killed(service, function(request) return request.method == "POST" end,
            'server:annotate { text = "once" }')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(1, #service.annotations)
        assert.equal(2, play.lost(service, function(request) return request.method == "POST" end,
            'server:annotate { text = "answered by a proxy" }').id)
        assert.equal(2, #service.annotations)
    end)

    it("asks data sources", function()
        service.frames = { grafana.frame({ code = "500" }, { 1, 2.5, grafana.null }) }
        local value = assert(play.step [[
            return { all = server:query { datasource = "prom1", expr = "errors" }, last = server:value { datasource = "prom1",
                query = { rawSql = "select 1", format = "time_series" }, since = "1h" } }
        ]])
        assert.equal(2.5, value.last)
        assert.same({ code = "500" }, value.all[1].labels)
        assert.equal(2, #value.all[1].values)
        assert.equal("select 1", service.last().json.queries[1].rawSql)
        assert.equal(3600000, tonumber(service.last().json.to) - tonumber(service.last().json.from))
        service.frames = { grafana.frame({ code = "500" }, { 1 }), grafana.frame({ code = "404" }, { 1 }) }
        local _, problem = play.step 'server:value { datasource = "prom1", expr = "errors" }'
        assert.equal("ambiguous", problem.code)
        _, problem = play.step 'server:value { datasource = "prom1", expr = "sum((" }'
        assert.same({ "refused", true }, { problem.code, problem.message:find "parse error: unclosed" ~= nil })
        _, problem = play.step 'server:value { datasource = "nope", expr = "x" }'
        assert.matches("data source not found", problem.message)
    end)

    it("is unknown where there is no data, or nothing usable is answered", function()
        local value = 'return expect("errors", server:value { datasource = "prom1", expr = "errors" }):at_most(0)'
        assert.equal("unknown", play.checked(value).verdict)
        service.frames = { grafana.frame({}, { grafana.null }) }
        assert.equal("unknown", play.checked(value).verdict)
        stand_in.bad_luck(service, play.gate, value)
        stand_in.bad_luck(service, play.gate, 'return server:dashboard "shop"')
    end)

    it("holds alerts and dashboards", function()
        assert.equal("unknown", play.checked "return server:quiet()".verdict)
        local rule = { name = "Slow", type = "alerting", health = "ok", labels = { severity = "critical" }, alerts = {} }
        service.rules = { { name = "shop", rules = { rule } } }
        assert.equal("pass", play.checked 'return server:quiet { severity = "critical" }'.verdict)
        rule.alerts = { { state = "Alerting", labels = { alertname = "Slow", pod = "a" } }, { state = "Normal", labels = {} } }
        local found = play.checked "return server:quiet()"
        assert.same({ "fail", 1 }, { found.verdict, found.measured })
        assert.matches('1 firing: Slow{pod="a"}', found.text)
        rule.alerts, rule.health = {}, "nodata"
        assert.equal("unknown", play.checked "return server:quiet()".verdict)
        assert.same({ "pass", "fail" }, { play.checked 'return server:dashboard "shop"'.verdict,
            play.checked 'return server:dashboard "gone"'.verdict })
    end)

    it("says what it would do", function()
        assert.matches("annotate http://[^ ]*: shop v2", play.plan 'server:annotate { text = "shop v2" }')
        local _, problem = play.step 'server:value { datasource = "x" }'
        assert.matches("expr for Prometheus and Loki, or query", problem.message)
    end)
end)
