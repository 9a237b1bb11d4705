-- A POST that was answered by 303 was sent again where the page that it led to could not be had: an order was placed three times.
local t = require "spec.helper"
local stand_in = require "spec.world.stand_in"

local HEAD = 'local http = require "rollout.http"\nlocal U = "%s"\n'

describe("a change that was answered by another page", function()
    local server, orders

    before_each(function()
        orders = 0
        server = stand_in.start(function(request)
            if request.path == "/order" then
                orders = orders + 1
                return 303, "", { Location = request.query.to }
            end
            return tonumber(request.path:match "^/(%d+)$") or 200, "", { ["Set-Cookie"] = "sid=1" }
        end)
    end)

    local function order(to, more)
        return t.body(HEAD:format(server.url) .. ([[
            return http.post(U .. "/order?to=%s", { redirects = 1, retry = { times = 3, backoff = "10ms" } %s }).status
        ]]):format(to, more or ""))
    end

    it("is not sent again where that page is not there", function()
        local _, problem = order("http://127.0.0.1:1/")
        assert.equal("connect", problem.code)
        assert.equal(429, (order "/429"))
        assert.equal(2, orders)
    end)

    it("is sent again where it is known by its key", function()
        assert.equal(429, (order("/429", ', idempotency_key = "k"')))
        assert.equal(3, orders)
    end)

    it("is not sent again after a new login", function()
        local status, problem = t.body(HEAD:format(server.url) .. [[
            local app = http.session { url = U, redirects = 1, login = function(s) s:get "/login" end }
            app:get "/"
            return app:post("/order?to=/401").status
        ]])
        assert.equal(401, status, problem and problem.message)
        assert.equal(1, orders)
    end)
end)

describe("a redirect to what is not http", function()
    it("is called what it is", function()
        local server = stand_in.start(function() return 302, "", { Location = "ftp://127.0.0.1/x" } end)
        local _, problem = t.body(HEAD:format(server.url) .. [[ return http.get(U, { redirects = 1 }).status ]])
        assert.equal("redirect", problem.code)
        assert.matches("redirects to ftp://127.0.0.1/x, which is neither http nor https; not followed", problem.message, 1, true)
    end)
end)
