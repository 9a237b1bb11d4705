local railway = require "spec.world.railway"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("railway", function()
    local service, play

    before_each(function()
        service = railway.start "s3same-railway-token"
        play = plays(([[
            local railway = require "rollout.railway"
            playbook "spec" { environments = { "test" } }
            local shop = railway.instance { project = "p", environment = "e", service = "s", token = secret "TOKEN", url = %q }
        ]]):format(service.url), { TOKEN = "s3same-railway-token" })
    end)

    it("deploys a commit, and goes back to what was live before, once", function()
        local value, problem, result = play.step [[
            local before = shop:live()
            local made = shop:deploy { commit = "abc" }
            local live = shop:is_live "abc"
            local back = shop:rollback(before)
            return { before.id, made.id, live.verdict, back.id, back.commit, shop:rollback(back).id, shop:is_live(made).verdict }
        ]]
        assert.is_nil(problem)
        assert.same({ "dep-1", "dep-2", "pass", "dep-3", "old", "dep-3", "fail" }, value)
        play.hides(result, "s3same-railway-token")
    end)

    it("takes a deployment that fails, or does not end, for a failure", function()
        service.ends = "CRASHED"
        local _, problem = play.step 'shop:deploy { commit = "abc" }'
        assert.equal("failed", problem.code)
        service.ends = "BUILDING"
        _, problem = play.step 'shop:deploy { within = "1s" }'
        assert.equal("timeout", problem.code)
        _, problem = play.step 'shop:rollback "dep-99"'
        assert.equal("refused", problem.code)
        assert.matches("Deployment not found", problem.message)
    end)

    it("deploys once, whatever becomes of the answer", function()
        local result = play.killed(service, function(request) return request.json.query:find "serviceInstanceDeployV2" end,
            'shop:deploy({ commit = "abc" }).id')
        assert.equal(0, result.code, result.out .. result.err)
        assert.same({ 2, "SUCCESS" }, { #service.deployments, service.deployments[1].status })
    end)

    it("is in doubt where two deployments might be its own", function()
        local result = play.killed(service, function(request)
            if request.json.query:find "serviceInstanceDeployV2" then
                service.add "abc"
                return true
            end
        end, 'shop:deploy({ commit = "abc" }).id')
        assert.equal(7, result.code, result.out .. result.err)
        assert.equal(3, #service.deployments)
    end)

    it("takes what is no usable answer for unknown", function()
        stand_in.bad_luck(service, play.gate, 'return shop:is_live "old"')
        service.queue = {}
        service.fail(200, { data = { deployments = { nothing = true } } })
        assert.equal("unknown", play.checked 'return shop:is_live "old"'.verdict)
        service.fail(200, { errors = { { message = "Not Authorized" } } })
        assert.equal("unknown", play.checked 'return shop:is_live "old"'.verdict)
        service.deployments = {}
        assert.equal("fail", play.checked 'return shop:is_live "old"'.verdict)
    end)
end)
