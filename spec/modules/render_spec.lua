local render = require "spec.world.render"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("render", function()
    local service, play

    before_each(function()
        service = render.start "s3same-render-token"
        play = plays(([[
            local render = require "rollout.render"
            playbook "spec" { environments = { "test" } }
            local shop = render.service("srv-shop", { token = secret "TOKEN", url = %q })
        ]]):format(service.url), { TOKEN = "s3same-render-token" })
    end)

    it("deploys a commit, and goes back to what was live before, once", function()
        local value, _, result = play.step [[
            local before = shop:live()
            local made = shop:deploy { commit = "abc" }
            local live = shop:is_live "abc"
            local back = shop:rollback(before)
            return { before, made, live.verdict, back, shop:rollback(back).id, shop:is_live(made).verdict }
        ]]
        assert.same({ "dep-1", "dep-2", "live", "pass" }, { value[1].id, value[2].id, value[2].status, value[3] })
        assert.same({ "dep-3", "old", "dep-3", "fail" }, { value[4].id, value[4].commit, value[5], value[6] })
        play.hides(result, "s3same-render-token")
    end)

    it("takes a deploy that fails, or does not end, for a failure", function()
        service.ends = "build_failed"
        local _, problem = play.step 'shop:deploy { commit = "abc" }'
        assert.equal("failed", problem.code)
        assert.matches("ended as build_failed", problem.message)
        service.ends = "build_in_progress"
        _, problem = play.step 'shop:deploy { within = "1s" }'
        assert.equal("timeout", problem.code)
        assert.equal("pass", play.checked 'return shop:is_live "old"'.verdict)
    end)

    it("deploys once, whatever becomes of the answer", function()
        local result = play.killed(service, function(request) return request.method == "POST" end,
            'shop:deploy({ commit = "abc" }).id')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(2, #service.deploys)
        assert.equal("live", service.deploys[1].status)
    end)

    it("is in doubt where two deploys might be its own", function()
        local result = play.killed(service, function(request)
            if request.method == "POST" then
                service.add("api", "abc")
                return true
            end
        end, 'shop:deploy({ commit = "abc" }).id')
        assert.equal(7, result.code, result.out .. result.err)
        assert.equal(3, #service.deploys)
    end)

    it("knows which variables are set, all pages of them, and keeps no value", function()
        for i = 1, 230 do
            service.variables[i] = { key = "VAR_" .. i, value = "hunter2-" .. i }
        end
        local found, result = play.checked 'return shop:variables("VAR_1", "VAR_230", "VAR_231")'
        assert.equal("fail not set: VAR_231", found.verdict .. " " .. found.text)
        play.hides(result, "hunter2")
        assert.equal("pass", play.checked 'return shop:variables("VAR_1", "VAR_230")'.verdict)
        service.fail(200, { { something = 1 } })
        assert.equal("unknown", play.checked 'return shop:variables "VAR_1"'.verdict)
    end)

    it("takes what is no usable answer for unknown", function()
        stand_in.bad_luck(service, play.gate, 'return shop:is_live "old"')
        service.queue = {}
        service.deploys = {}
        assert.equal("fail", play.checked 'return shop:is_live "old"'.verdict)
        service.fail(200, { { something = 1 } })
        assert.equal("unknown", play.checked 'return shop:is_live "old"'.verdict)
    end)
end)
