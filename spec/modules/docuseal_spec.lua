local docuseal = require "spec.world.docuseal"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

describe("docuseal", function()
    local service, play

    before_each(function()
        service = docuseal.start "s3same-docuseal"
        play = plays(([[
            local docuseal = require "rollout.docuseal"
            playbook "spec" { environments = { "test" } }
            local server = docuseal.server { url = %q, token = secret "TOKEN" }
        ]]):format(service.url .. "/api"), { TOKEN = "s3same-docuseal" })
    end)

    it("answers, with this key, and has templates", function()
        local found, result = play.checked "return server:check()"
        assert.same({ "pass", 1 }, { found.verdict, found.measured })
        play.hides(result, "s3same-docuseal")
        service.templates[1] = nil
        assert.equal("fail", play.checked "return server:check()".verdict)
        stand_in.bad_luck(service, play.gate, "return server:check()")
    end)

    it("makes a submission and takes it back", function()
        local value = assert(play.step [[
            local template = server:templates()[1]
            local made = server:submit { template = template.id, submitters = { { email = "qa@shop.example", role = "Client" } } }
            local seen = server:submission(made)
            server:archive(made)
            server:archive(99)
            return { id = made.id, status = seen.status, signer = seen.submitters[1].email, gone = server:submission(made) == nil }
        ]])
        assert.same({ id = 1, status = "pending", signer = "qa@shop.example", gone = true }, value)
        assert.equal(0, service.mailed)
        assert(play.step 'return server:submit { template = 12, submitters = { { email = "a@x.example" } }, send = true }')
        assert.equal(1, service.mailed)
    end)

    it("finds the submission of a killed run", function()
        local result = play.killed(service, function(request) return request.method == "POST" end,
            'server:submit { template = 12, submitters = { { email = "a@x.example" } } }')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(1, #service.submissions)
        assert.equal(2, play.lost(service, function(request) return request.method == "POST" end,
            'server:submit { template = 12, submitters = { { email = "b@x.example" } } }').id)
        assert.equal(2, #service.submissions)
    end)

    it("measures its API", function()
        local value = assert(play.step 'return server:sample { n = 10, concurrency = 2 }')
        assert.same({ 10, 0 }, { value.count, value.errors })
    end)

    it("says what it would do, and what is wrong", function()
        assert.matches("make a submission of template 12 in DocuSeal, and mail its submitters",
            play.plan 'server:submit { template = 12, submitters = { { email = "a@x.example" } }, send = true }')
        local _, problem = play.step 'server:submit { template = 12, submitters = { { mail = "a@x.example" } } }'
        assert.matches('did you mean "email"', problem.message)
        _, problem = play.step 'server:submit { template = 13, submitters = { { email = "a@x.example" } } }'
        assert.same({ "not_found", true }, { problem.code, problem.message:find "self%-hosted: https://HOST/api" ~= nil })
    end)
end)
