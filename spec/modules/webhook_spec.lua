-- Signatures: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
-- https://docs.stripe.com/webhooks#verify-manually, https://www.standardwebhooks.com
local t = require "spec.helper"
local stand_in = require "spec.world.stand_in"
local plays = require "spec.modules.service_play"

local KEY = "s3same-webhook-key"
local ENCODED = "whsec_czNzYW1lLXdlYmhvb2sta2V5" -- the same, as Standard Webhooks writes it

-- What openssl makes of it, in hex or base64.
local function hmac(text, encoded)
    local folder = t.temp()
    t.write(folder .. "/text", text)
    local result = t.run { "sh", "-c", ("openssl dgst -sha256 -hmac %s -binary %s/text | %s"):format(KEY, folder,
        encoded and "base64" or "od -An -v -tx1") }
    return (result.out:gsub("%s", ""))
end

describe("webhook", function()
    local service, hook, play

    setup(function()
        service = stand_in.start(function() return 204, "" end)
        hook = service.url .. "/hooks/s3same-path"
        play = plays([[
            local webhook = require "rollout.webhook"
            local hook, key, encoded = secret "HOOK", secret "KEY", secret "ENCODED"
            local plain = webhook.endpoint { url = hook, key = key, name = "crm" }
            playbook "spec" { environments = { "test" }, notify = { team = plain:channel() } }
        ]], { HOOK = hook, KEY = KEY, ENCODED = ENCODED })
    end)

    it("signs the body", function()
        local value, _, result = play.step 'return plain:send { type = "rollout.done", version = "v1", text = "Grüße" }'
        assert.equal(204, value.status)
        local request = service.last()
        assert.equal("/hooks/s3same-path", request.path)
        assert.same({ type = "rollout.done", version = "v1", text = "Grüße" }, request.json)
        assert.equal("sha256=" .. hmac(request.body), request.headers["x-hub-signature-256"])
        assert.equal("application/json", request.headers["content-type"])
        play.hides(result, KEY)
        play.hides(result, "s3same-path")
    end)

    it("signs the time as well", function()
        assert(play.step [[
            return webhook.endpoint { url = hook, key = key, scheme = "timestamp", header = "Shop-Signature" }:send { a = 1 }
        ]])
        local request = service.last()
        local at, signature = request.headers["shop-signature"]:match "^t=(%d+),v1=(%x+)$"
        assert.is_true(math.abs(tonumber(at) - os.time()) < 60)
        assert.equal(hmac(at .. "." .. request.body), signature)
    end)

    it("speaks Standard Webhooks: the same event has the same id when it is sent again", function()
        service.fail(503, "")
        local value = assert(play.step [[
            return webhook.endpoint { url = hook, key = encoded, scheme = "standard" }:send { a = 1 }
        ]])
        local last, before = service.last(), service.requests[#service.requests - 1]
        assert.equal(value.id, last.headers["webhook-id"])
        assert.equal(value.id, before.headers["webhook-id"])
        assert.equal("v1," .. hmac(value.id .. "." .. last.headers["webhook-timestamp"] .. "." .. last.body, true),
            last.headers["webhook-signature"])
    end)

    it("is a channel", function()
        local result = play.run 'notify "hello"'
        assert.equal(0, result.code, result.err)
        assert.same({ "rollout.message", "hello", "spec", "test" }, { service.last().json.type, service.last().json.text,
            service.last().json.playbook, service.last().json.environment })
    end)

    it("is sent once where nobody knows whether it arrived", function()
        local before = #service.requests
        service.fail(500, "oops")
        local _, problem, result = play.step "return plain:send { a = 1 }"
        assert.same({ "unavailable", before + 1 }, { problem.code, #service.requests })
        assert.matches("webhook crm: answered 500: oops", problem.message)
        play.hides(result, "s3same-path")
    end)

    it("says what it would do, and what is wrong", function()
        assert.matches("tell rollout.done to webhook crm", play.plan 'plain:send { type = "rollout.done" }')
        local _, problem = play.step 'webhook.endpoint { url = hook, key = "no base64!", scheme = "standard" }:send { a = 1 }'
        assert.matches("the key is not base64", problem.message)
        _, problem = play.step 'plain:send { a = { b = key } }'
        assert.matches("event.a.b is a secret", problem.message)
        _, problem = play.step 'plain:send "text"'
        assert.matches("takes the event, a table", problem.message)
        _, problem = play.step 'webhook.endpoint { url = hook, scheme = "standard" }'
        assert.matches("key is missing: the secret, whsec_…", problem.message)
    end)
end)
