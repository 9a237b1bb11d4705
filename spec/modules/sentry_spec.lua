local sentry = require "spec.world.sentry"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("sentry", function()
    local service, play

    setup(function()
        service = sentry.start "s3same-token"
        play = plays(([[
            local sentry = require "rollout.sentry"
            playbook "spec" { environments = { "test" } }
            local shop = sentry.project { org = "acme", project = "shop", token = secret "SENTRY_TOKEN", url = %q, dsn = %q,
                environment = "production" }
        ]]):format(service.url, service.dsn), { SENTRY_TOKEN = "s3same-token" })
    end)

    before_each(function()
        for id in pairs(service.events) do
            service.events[id] = nil
        end
        service.slow = false
    end)

    it("counts errors, by release and as a rate", function()
        for i = 1, 6 do
            service.events["e" .. i] = { release = i < 6 and "v2" or "v1", level = "error", environment = "production",
                message = { formatted = "boom" } }
        end
        local value = assert(play.step [[
            return { all = shop:errors { since = "1h" }, v2 = shop:errors { since = "10m", release = "v2" }, rate = shop:rate {
                since = "10m", release = "v2" }, staging = shop:errors { since = "1h", environment = "staging" } }
        ]])
        assert.same({ all = 6, v2 = 5, rate = 0.5, staging = 0 }, value)
        assert.matches('project:shop release:"v2"', service.requests[#service.requests - 1].query.query)
        assert.equal("10m", service.requests[#service.requests - 1].query.statsPeriod)
        local found, result = play.checked 'return expect("errors", shop:errors { since = "1h", release = "v2" }):at_most(4)'
        assert.same({ "fail", 5 }, { found.verdict, found.measured })
        play.hides(result, "s3same-token")
    end)

    it("tells new issues", function()
        service.events.e1 = { level = "fatal", environment = "production", timestamp = "2026-01-01T00:00:00Z",
            message = { formatted = ("ä"):rep(300) } }
        local value = assert(play.step 'return shop:issues { since = "1h", level = "fatal" }')
        assert.equal(1, #value)
        assert.same({ "fatal", 1, "https://acme.sentry.io/issues/1/" }, { value[1].level, value[1].count, value[1].url })
        assert.is_true(#value[1].title <= 204 and utf8.len(value[1].title) ~= nil)
        assert.matches("is:unresolved firstSeen:%-60m project:shop level:fatal", service.last().query.query)
    end)

    it("has no rate where there were no sessions", function()
        service.sessions = { total = 0 }
        local found = play.checked 'return expect("crash-free", shop:crash_free { since = "1h" }):at_least "99%"'
        assert.equal("unknown", found.verdict)
        service.sessions = { total = 200, crash_free = 0.995 }
        assert.equal(0.995, play.step 'return shop:crash_free { since = "1h", release = "v2" }')
        assert.matches("field=crash_free_rate%(session%)&field=sum%(session%)&", service.last().target)
    end)

    it("sends a test event, once, and sees it arrive", function()
        service.fail(503, "later")
        local value = assert(play.step 'return shop:test_event { release = "v2" }')
        assert.matches("^%x+$", value.id)
        assert.equal(32, #value.id)
        assert.equal("v2", service.events[value.id].release)
        assert.equal("production", service.events[value.id].environment)
        assert.equal("application/x-sentry-envelope", service.last().headers["content-type"])
        assert.is_nil(service.last().headers.authorization)
        local found = play.checked(('return shop:received(%q)'):format(value.id))
        assert.equal("pass", found.verdict)
        service.slow = true
        found = play.checked(('return shop:received(%q)'):format(value.id))
        assert.same({ "fail", "not there" }, { found.verdict, found.measured })
    end)

    it("marks a release and its deploy", function()
        local value = assert(play.step [[
            shop:release { version = "shop@v3+1", repository = "acme/shop", commit = "abc", previous = "abb" }
            shop:release { version = "shop@v3+1" }
            return shop:deploy { release = "shop@v3+1", url = "https://ci.example/1" }
        ]])
        assert.equal("1", value.id)
        local release = service.releases["shop@v3+1"]
        assert.same({ { repository = "acme/shop", commit = "abc", previousCommit = "abb" } }, release.refs)
        assert.same({ "shop" }, release.projects)
        local _, problem = play.step 'shop:deploy { release = "v99" }'
        assert.equal("not_found", problem.code)
        assert.matches("are organization, project, release", problem.message)
    end)

    it("finds the deploy that a killed run has marked", function()
        service.releases.v4 = { version = "v4", deploys = setmetatable({}, { __jsontype = "array" }) }
        local result = play.killed(service, function(request) return request.method == "POST" end, 'shop:deploy { release = "v4" }')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(1, #service.releases.v4.deploys)
        assert.equal("2", play.lost(service, function(request) return request.method == "POST" end,
            'shop:deploy { release = "v4" }').id)
        assert.equal(2, #service.releases.v4.deploys)
    end)

    it("is unknown where nothing usable is answered", function()
        stand_in.bad_luck(service, play.gate, 'return expect("errors", shop:errors { since = "1h" }):at_most(0)')
        stand_in.bad_luck(service, play.gate, 'return expect("new", #shop:issues { since = "1h" }):at_most(0)')
        stand_in.bad_luck(service, play.gate, 'return expect("crash-free", shop:crash_free { since = "1h" }):above(0.9)')
        service.fail(200, { data = setmetatable({}, { __jsontype = "array" }) })
        assert.equal("unknown", play.checked('return expect("x", shop:errors { since = "1h" }):at_most(0)').verdict)
    end)

    it("says what it would do", function()
        local plan = play.plan 'shop:release { version = "v1" } shop:test_event() return shop:errors { since = "1h" } + 1'
        assert.matches("mark release v1 of acme/shop in Sentry", plan)
        assert.matches("send a test event to acme/shop", plan)
        assert.matches("errors of acme/shop in Sentry, production, during 1h", plan)
        local unset = plays([[
            playbook "spec" { environments = { "test" } }
            local cfg = env.require { SENTRY_DSN = { public = true, format = "https" } }
            local shop = require("rollout.sentry").project { org = "acme", project = "shop", token = secret "T",
                dsn = cfg.SENTRY_DSN }
        ]])
        assert.matches("send a test event to acme/shop", unset.plan "shop:test_event()")
        local _, problem = play.step 'sentry.project { org = "a", project = "b", token = "c", dsn = "nonsense" }'
        assert.matches("dsn is https://KEY@host/NUMBER", problem.message)
    end)
end)
