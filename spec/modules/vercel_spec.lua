local stand_in = require "spec.world.stand_in"
local vercel = require "spec.world.vercel"
local plays = require "spec.modules.service_play"

describe("vercel", function()
    local service, play

    before_each(function()
        service = vercel.start "s3same-vercel-token"
        play = plays(([[
            local vercel = require "rollout.vercel"
            playbook "spec" { environments = { "test" } }
            local shop = vercel.project("shop", { token = secret "TOKEN", url = %q })
        ]]):format(service.url), { TOKEN = "s3same-vercel-token" })
    end)

    it("deploys a commit, and goes back to what was live before", function()
        local value, _, result = play.step [[
            local before = shop:live()
            local made = shop:deploy { repository = "acme/shop", ref = "v1.4.0" }
            local live = shop:is_live(made).verdict
            local back, again = shop:rollback(before), shop:rollback(before)
            return { before, made, live, back, again, shop:is_live(before).verdict, shop:is_live(made).verdict }
        ]]
        assert.same({ "dpl_1", "dpl_2", "pass" }, { value[1].id, value[2].id, value[3] })
        assert.same({ "dpl_1", "dpl_2", "dpl_1", "dpl_1" }, { value[4].id, value[4].before, value[5].id, value[5].before })
        assert.same({ "pass", "fail" }, { value[6], value[7] })
        local switched = 0
        for _, request in ipairs(service.requests) do
            switched = switched + (request.path:find "/rollback/" and 1 or 0)
        end
        assert.equal(1, switched)
        play.hides(result, "s3same-vercel-token")
    end)

    it("promotes a preview, and leads a name to it", function()
        local value = assert(play.step [[
            local made = shop:deploy { repository = "acme/shop", ref = "main", target = "preview" }
            local before = shop:live()
            return { before.id, shop:promote(made).before, shop:live().id, shop:alias(made, "beta.example.com"),
                shop:alias(before, "beta.example.com").before }
        ]])
        assert.same({ "dpl_1", "dpl_1", "dpl_2" }, { value[1], value[2], value[3] })
        assert.equal("dpl_2", value[4].id)
        assert.equal("dpl_2", value[5])
    end)

    it("takes a build that fails for a failure, and nothing else for live", function()
        service.ends = "ERROR"
        local _, problem = play.step 'shop:deploy { repository = "acme/shop", ref = "v1.4.0" }'
        assert.equal("failed", problem.code)
        assert.matches("ended as ERROR: Build failed", problem.message)
        assert.equal("dpl_1", service.live)
        _, problem = play.step 'shop:rollback "dpl_2"'
        assert.matches("it is ERROR, not READY", problem.message)
        service.ends = "BUILDING"
        _, problem = play.step 'shop:deploy { repository = "acme/shop", ref = "v1.4.0", within = "1s" }'
        assert.equal("timeout", problem.code)
    end)

    it("deploys once, whatever becomes of the answer", function()
        local result = play.killed(service, function(request) return request.method == "POST" end,
            'shop:deploy({ repository = "acme/shop", ref = "v1.4.0" }).id')
        assert.equal(0, result.code, result.out .. result.err)
        assert.is_nil(service.deployments.dpl_3)
        assert.equal("dpl_2", service.live)
    end)

    it("knows which variables are set, and keeps no value", function()
        table.insert(service.variables, { key = "JWT_SECRET", value = "jwt-hunter2", target = { "production", "preview" } })
        table.insert(service.variables, { key = "BASE_URL", value = "url-hunter2", target = "preview" })
        local found, result = play.checked 'return shop:variables("JWT_SECRET", "BASE_URL", "NODE_ENV")'
        assert.equal("fail not set: BASE_URL, NODE_ENV", found.verdict .. " " .. found.text)
        play.hides(result, "hunter2")
        found = play.checked 'return shop:variables("JWT_SECRET", "BASE_URL", { target = "preview" })'
        assert.equal("pass all of 2 variables are set", found.verdict .. " " .. found.text)
        service.fail(200, { something = 1 })
        assert.equal("unknown", play.checked 'return shop:variables "JWT_SECRET"'.verdict)
    end)

    it("takes what is no usable answer for unknown", function()
        stand_in.bad_luck(service, play.gate, 'return shop:is_live "dpl_1"')
        service.queue = {}
        service.live = nil
        assert.equal("fail", play.checked 'return shop:is_live "dpl_1"'.verdict)
        service.fail(200, { name = "another thing" })
        assert.equal("unknown", play.checked 'return shop:is_live "dpl_1"'.verdict)
    end)

    it("says in a plan what it would do", function()
        assert.matches("deploy v1.4.0 of acme/shop to Vercel's production of shop",
            play.plan 'shop:deploy { repository = "acme/shop", ref = "v1.4.0" }')
    end)
end)
