-- A proxy that was named was passed by where no_proxy of the environment said so; and one that refused to lead anywhere was told as
-- a connection that broke before the answer was whole, so that a check took the service for down.
local t = require "spec.helper"

local function proxy(answer)
    local asked = {}
    local port = t.serve(function(client, bytes)
        if bytes then
            asked[#asked + 1] = bytes
            client:write("HTTP/1.1 " .. answer .. "\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        end
    end)
    return ('local http = require "rollout.http"\nlocal proxy = "http://127.0.0.1:%d"\n'):format(port), asked
end

describe("a proxy that is asked for", function()
    it("is used, whatever no_proxy says", function()
        local head, asked = proxy "200 OK"
        assert.equal("ok", (t.body(head .. [[ return http.get("http://127.0.0.1:1/x", { proxy = proxy }).body ]],
            { env = { no_proxy = "*", NO_PROXY = "127.0.0.1" } })))
        assert.matches("^GET http://127.0.0.1:1/x ", asked[1])
    end)

    it("is told from the server where it leads nowhere", function()
        for status, why in pairs { ["407 No"] = "it wants a user and a password that it knows",
            ["502 No"] = "did not lead there" } do
            local head, asked = proxy(status)
            local _, problem = t.body(head .. [[
                return http.post("https://service.invalid/x", { json = { a = 1 }, proxy = proxy }).status ]])
            assert.equal("network", problem.code)
            assert.matches("POST https://service.invalid/x: the proxy answered " .. status:sub(1, 3), problem.message, 1, true)
            assert.matches(why, problem.message, 1, true)
            assert.matches("^CONNECT service.invalid:443 ", asked[1])
            local check = t.body(head .. [[ return http.check("https://service.invalid/x", { proxy = proxy }).verdict ]])
            assert.equal("unknown", check)
        end
    end)
end)
