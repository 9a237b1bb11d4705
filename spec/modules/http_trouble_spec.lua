local t = require "spec.helper"
local ask = require "spec.world.ask"

local function problem(body, vars, options)
    local answer = ask(body, vars, options)
    assert.is_truthy(answer.error, "no error")
    return answer.error, answer.run
end

local function value(body, vars, options)
    local answer = ask(body, vars, options)
    assert.is_nil(answer.error and answer.error.message)
    return answer.value
end

-- A server that answers each request with what handler(request, number) returns: text, or nil for nothing.
local function scripted(handler)
    local number, seen = 0, {}
    local port = t.serve(function(client, bytes)
        if not bytes then
            return
        end
        number = number + 1
        seen[number] = bytes
        local answer, reset = handler(bytes, number)
        if answer then
            client:write(answer, function()
                if reset then
                    client:close_reset()
                end
            end)
        elseif reset then
            client:close_reset()
        end
    end)
    return "http://127.0.0.1:" .. port, seen
end

local function answer(status, headers, body)
    return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s"):format(status, #(body or ""), headers or "", body or "")
end

describe("http in bad luck", function()
    it("names a refused connection", function()
        local err = problem([[ http.get(U) ]], { U = "http://127.0.0.1:" .. t.free_port() })
        assert.equal("connect", err.code)
        assert.equal("http", err.module)
        assert.matches("^GET http://127.0.0.1:%d+: .*Connection refused", err.message)
    end)

    it("gives up in time", function()
        local U, seen = scripted(function() end)
        local err = problem([[ http.post(U, { timeout = "300ms" }) ]], { U = U })
        assert.equal("timeout", err.code)
        assert.equal(1, #seen)
    end)

    it("ends with its step", function()
        local U, seen = scripted(function() end)
        local run = t.play(([[
            playbook "late" { environments = { "test" } }
            local http = require "rollout.http"
            step("ask", { timeout = "300ms" }, function() return http.get(%q, { timeout = "1h" }) end)
        ]]):format(U))
        assert.equal(1, run.code, run.err)
        assert.matches('"code":"timeout"', run.out)
        assert.equal(1, #seen)
    end)

    it("gives up on a body that drips", function()
        local U = scripted(function() return "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndrip" end)
        assert.equal("timeout", problem([[ http.get(U, { timeout = "300ms" }) ]], { U = U }).code)
    end)

    it("gives up on headers that drip, and on ones that never end", function()
        local timers, uv = {}, require "luv"
        local U = scripted(function() return "HTTP/1.1 200 OK\r\nX-Slow: " end)
        assert.equal("timeout", problem([[ http.get(U, { timeout = "300ms" }) ]], { U = U }).code)
        local port = t.serve(function(client, bytes)
            if bytes then
                client:write("HTTP/1.1 200 OK\r\n")
                local timer = uv.new_timer()
                timers[#timers + 1] = timer
                timer:start(0, 1, function()
                    if client:is_closing() then
                        timer:stop()
                    else
                        client:write(("X-More: %s\r\n"):format(("x"):rep(9000)))
                    end
                end)
            end
        end)
        local err = problem([[ http.get(U, { timeout = "20s" }) ]], { U = "http://127.0.0.1:" .. port })
        for _, timer in ipairs(timers) do
            timer:close()
        end
        assert.equal("body_too_large", err.code)
        assert.matches("the answer's headers are larger than 262144 bytes", err.message)
    end)

    it("takes half a body for none", function()
        local U = scripted(function() return "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", true end)
        local err = problem([[ http.get(U) ]], { U = U })
        assert.equal("reset", err.code)
        assert.matches("before the answer was whole", err.message)
    end)

    it("cuts an endless body at the limit", function()
        local server = t.nginx { http = "server { listen 127.0.0.1:$port1; root $folder; }" }
        local big = assert(io.open(server.folder .. "/big", "wb"))
        big:seek("set", (1 << 30) - 1)
        big:write("x")
        big:close()
        local vars = { U = "http://127.0.0.1:" .. server.ports[1] .. "/big" }
        local err = problem([[ http.get(U) ]], vars)
        assert.equal("body_too_large", err.code)
        assert.matches("larger than 8388608 bytes %(it announces 1073741824%)", err.message)
        assert.equal("1073741824", value([[ return http.head(U).headers["content-length"] ]], vars))
    end)

    it("cuts a small answer that unpacks to a large one", function()
        local server = t.nginx {
            http = "server { listen 127.0.0.1:$port1; location / { gzip_static always; root $folder; } }",
        }
        local zipped = t.run { "sh", "-c", "head -c 50000000 /dev/zero | gzip -9 > " .. server.folder .. "/zeros.gz" }
        assert.equal(0, zipped.code)
        local err = problem([[ http.get(U) ]], { U = "http://127.0.0.1:" .. server.ports[1] .. "/zeros" })
        assert.equal("body_too_large", err.code)
    end)

    it("sends two hundred requests at once", function()
        local server = t.nginx { http = 'server { listen 127.0.0.1:$port1; location / { return 200 "$args"; } }' }
        local result = t.play(([[
            playbook "many" { environments = { "test" } }
            local http = require "rollout.http"
            local branches = {}
            for i = 1, 200 do
                branches["b" .. i] = function()
                    return step("ask", function() return http.get("%s", { query = { n = i } }).body end)
                end
            end
            local answers = parallel(branches)
            local wrong = 0
            for i = 1, 200 do
                if answers["b" .. i] ~= "n=" .. i then wrong = wrong + 1 end
            end
            step("count", function() http.get("%s", { query = { wrong = wrong } }) end)
        ]]):format("http://127.0.0.1:" .. server.ports[1], "http://127.0.0.1:" .. server.ports[1]))
        assert.equal(0, result.code, result.err)
        assert.matches("wrong=0 ", server.access())
        local _, requests = server.access():gsub("GET /%?n=", "")
        assert.equal(200, requests)
    end)
end)

describe("http's second attempts", function()
    it("repeat a read that was answered by a gateway, until it is", function()
        local U, seen = scripted(function(_, n)
            return n < 3 and answer("503 Busy") or answer("200 OK", "", "fine")
        end)
        assert.equal("fine", value([[ return http.get(U, { retry = { times = 3, backoff = "20ms" } }).body ]], { U = U }))
        assert.equal(3, #seen)
    end)

    it("repeat a read whose connection broke", function()
        local U, seen = scripted(function(_, n)
            if n == 1 then
                return nil, true
            end
            return answer("200 OK", "", "fine")
        end)
        assert.equal("fine", value([[ return http.get(U, { retry = { backoff = "20ms" } }).body ]], { U = U }))
        assert.equal(2, #seen)
    end)

    it("end with the last answer, which is a result", function()
        local U, seen = scripted(function() return answer("503 Busy") end)
        assert.equal(503, value([[ return http.get(U, { retry = { times = 2, backoff = "20ms" } }).status ]], { U = U }))
        assert.equal(2, #seen)
    end)

    it("wait as long as the server asks, and not longer than they may", function()
        local U, seen = scripted(function(_, n)
            return n == 1 and answer("429 Slow", "Retry-After: 1\r\n") or answer("200 OK")
        end)
        local r = value([[ return http.get(U, { retry = { times = 2, backoff = "10ms" } }).status ]], { U = U })
        assert.equal(200, r)
        assert.equal(2, #seen)
        U, seen = scripted(function() return answer("429 Slow", "Retry-After: 3600\r\n") end)
        assert.equal(429, value([[ return http.get(U, { retry = { times = 2, backoff = "10ms" } }).status ]], { U = U }))
        assert.equal(1, #seen)
    end)

    it("stay within the timeout, which is for all of them", function()
        local U, seen = scripted(function() return answer("503 Busy") end)
        local r = value([[
            return http.get(U, { timeout = "200ms", retry = { times = 9, backoff = "150ms" } }).status ]], { U = U })
        assert.equal(503, r)
        assert.equal(2, #seen)
    end)

    it("never repeat what may have been done", function()
        local U, seen = scripted(function() return nil, true end)
        local err = problem([[ http.post(U, { retry = { times = 5, backoff = "10ms" } }) ]], { U = U })
        assert.equal("reset", err.code)
        assert.equal(1, #seen)
        U, seen = scripted(function() return answer("503 Busy") end)
        assert.equal(503, value([[ return http.post(U, { retry = { backoff = "10ms" } }).status ]], { U = U }))
        assert.equal(1, #seen)
    end)

    it("repeat a change that the server refused, or knows by its key", function()
        local U, seen = scripted(function(_, n) return answer(n == 1 and "429 Slow" or "200 OK") end)
        assert.equal(200, value([[ return http.post(U, { retry = { backoff = "10ms" } }).status ]], { U = U }))
        assert.equal(2, #seen)
        U, seen = scripted(function(_, n) return answer(n == 1 and "503 Busy" or "200 OK") end)
        assert.equal(200, value([[
            return http.post(U, { idempotency_key = "k-1", retry = { backoff = "10ms" } }).status ]], { U = U }))
        assert.equal(2, #seen)
        assert.matches("Idempotency%-Key: k%-1", seen[2])
    end)
end)

describe("http's redirects", function()
    local function two(status)
        local other, other_seen = scripted(function() return answer("200 OK", "", "there") end)
        other = other:gsub("127.0.0.1", "localhost")
        local here, here_seen = scripted(function(request)
            if request:find("^%u+ /loop") then
                return answer(status, "Location: /loop\r\n")
            elseif request:find("^%u+ /away") then
                return answer(status, "Location: " .. other .. "/there\r\n")
            elseif request:find("^%u+ /near") then
                return answer(status, "Location: /here\r\n")
            end
            return answer("200 OK", "", "here")
        end)
        return { U = here }, here_seen, other_seen
    end
    local SECRET = { env = { TOKEN = "s3cret-bearer-token" } }

    it("are results", function()
        local vars, _, other_seen = two("302 Found")
        local r = value([[ return http.get(U .. "/away") ]], vars)
        assert.equal(302, r.status)
        assert.matches("/there$", r.headers.location)
        assert.equal(0, #other_seen)
    end)

    it("are followed where asked for", function()
        local vars, seen = two("302 Found")
        local r = value([[ return http.get(U .. "/near", { redirects = 1, bearer = secret "TOKEN" }) ]], vars, SECRET)
        assert.equal("here", r.body)
        assert.equal(vars.U .. "/here", r.url)
        assert.matches("Bearer s3cret%-bearer%-token", seen[2])
    end)

    it("carry no credentials to another host", function()
        local vars, here, other_seen = two("302 Found")
        local r = value([[
            return http.get(U .. "/away", { redirects = 1, bearer = secret "TOKEN", headers = {
                ["X-Api-Key"] = secret "TOKEN", Cookie = "a=b", Accept = "text/plain", ["X-Plain"] = "p" } }).body ]],
            vars, SECRET)
        assert.equal("there", r)
        assert.matches("s3cret", here[1])
        assert.equal(1, #other_seen)
        assert.matches("Accept: text/plain", other_seen[1])
        for _, part in ipairs { "s3cret", "Authorization", "Cookie", "X%-Api", "X%-Plain" } do
            assert.is_nil(other_seen[1]:find(part), part)
        end
    end)

    it("carry no body to another host", function()
        local vars, _, other_seen = two("307 Temporary Redirect")
        local err = problem([[ http.post(U .. "/away", { redirects = 1, body = "x" }) ]], vars)
        assert.equal("redirect", err.code)
        assert.equal(0, #other_seen)
    end)

    it("turn a POST into a GET where the status says so", function()
        local vars, seen = two("303 See Other")
        assert.equal("here", value([[ return http.post(U .. "/near", { redirects = 1, body = "x" }).body ]], vars))
        assert.matches("^GET /here", seen[2])
        vars, seen = two("307 Temporary Redirect")
        assert.equal("here", value([[ return http.post(U .. "/near", { redirects = 1, body = "x" }).body ]], vars))
        assert.matches("^POST /here.*\r\n\r\nx$", seen[2])
    end)

    it("have an end", function()
        local vars, seen = two("302 Found")
        assert.equal("redirect", problem([[ http.get(U .. "/loop", { redirects = 3 }) ]], vars).code)
        assert.equal(4, #seen)
    end)
end)

describe("http with TLS", function()
    local server, ca, U
    setup(function()
        local certs = t.certificates()
        ca = certs.ca
        local blocks = {}
        for i, name in ipairs { "good", "expired", "wrong_name", "unknown", "future", "self_signed" } do
            blocks[i] = ([[server { listen 127.0.0.1:$port%d ssl%s; ssl_certificate %s; ssl_certificate_key %s;
                location /down { return 302 http://127.0.0.1:$port9/; } location / { return 200 "ok $server_protocol"; } }]])
                :format(i, name == "good" and " http2" or "", certs[name].cert, certs[name].key)
        end
        blocks[7] = "server { listen 127.0.0.1:$port9; location / { return 200 clear; } }"
        server = t.nginx { http = table.concat(blocks, "\n") }
        U = {}
        for i = 1, 6 do
            U[i] = "https://127.0.0.1:" .. server.ports[i] .. "/"
        end
    end)

    it("trusts whom it is told to trust", function()
        assert.equal("ok HTTP/2.0", value([[ return http.get(U, { ca = CA }).body ]], { U = U[1], CA = ca }))
    end)

    it("does not trust an authority that the machine does not know", function()
        local err = problem([[ http.get(U) ]], { U = U[1] })
        assert.equal("tls", err.code)
        assert.matches("does not know the authority %(CN=authority%)", err.message)
        assert.matches('ca = "file.pem"', err.message, 1, true)
        assert.equal("tls", problem([[ http.get(U, { ca = CA }) ]], { U = U[4], CA = ca }).code)
    end)

    it("says when a certificate expired", function()
        local err = problem([[ http.get(U, { ca = CA }) ]], { U = U[2], CA = ca })
        assert.equal("tls", err.code)
        assert.matches("the certificate of CN=expired expired on 2024%-02%-01 00:00:00 UTC", err.message)
    end)

    it("says for whom a certificate is", function()
        local err = problem([[ http.get(U, { ca = CA }) ]], { U = U[3], CA = ca })
        assert.equal("tls", err.code)
        assert.matches("the certificate is for elsewhere.example", err.message)
    end)

    it("says that a certificate is not valid yet, and what may be wrong", function()
        local err = problem([[ http.get(U, { ca = CA }) ]], { U = U[5], CA = ca })
        assert.equal("tls", err.code)
        assert.matches("the certificate of CN=future is valid from 2099%-01%-01 00:00:00 UTC: is a clock wrong", err.message)
    end)

    it("does not trust who vouches for itself", function()
        local err = problem([[ http.get(U, { ca = CA }) ]], { U = U[6], CA = ca })
        assert.equal("tls", err.code)
        assert.matches("does not know the authority %(CN=stranger%)", err.message)
    end)

    it("is measured by a sample, kind by kind", function()
        local r = value([[ return { http.sample({ url = U, n = 20, ca = CA }).errors,
            http.sample({ url = V, n = 5, ca = CA }).errors_by } ]], { U = U[1], V = U[2], CA = ca })
        assert.same({ 0, { tls = 5 } }, r)
    end)

    it("fails a check", function()
        local e = value([[ local e = http.check(U, { ca = CA }) return { e.verdict, e.measured } ]], { U = U[2], CA = ca })
        assert.same({ "fail", "no answer: tls" }, e)
    end)

    it("names a file of authorities that is not there", function()
        local err = problem([[ http.get(U, { ca = "/nowhere/ca.pem" }) ]], { U = U[1] })
        assert.equal("tls", err.code)
        assert.matches("/nowhere/ca.pem", err.message)
    end)

    it("shows a certificate of its own where the server asks for one", function()
        local certs = t.certificates()
        local asking = t.nginx { http = ([[server { listen 127.0.0.1:$port1 ssl; ssl_certificate %s; ssl_certificate_key %s;
            ssl_client_certificate %s; ssl_verify_client on; location / { return 200 $ssl_client_s_dn; } }]]):format(
            certs.good.cert, certs.good.key, certs.ca) }
        local vars = { U = "https://127.0.0.1:" .. asking.ports[1], CA = certs.ca, CERT = certs.wrong_name.cert,
            KEY = certs.wrong_name.key }
        assert.equal("CN=elsewhere", value([[
            return http.get(U, { ca = CA, client = { cert = CERT, key = KEY } }).body ]], vars))
        assert.equal(400, value([[ http.get(U, { ca = CA, client = { cert = CERT, key = KEY } })
            return http.get(U, { ca = CA }).status ]], vars))
        assert.equal("tls", problem([[ http.get(U, { ca = CA, client = { cert = "no.pem", key = KEY } }) ]], vars).code)
        assert.matches("key is missing", problem([[ http.get(U, { client = { cert = CERT } }) ]], vars).message)
    end)

    it("is not left for clear text", function()
        local err = problem([[ http.get(U .. "down", { ca = CA, redirects = 3 }) ]], { U = U[1], CA = ca })
        assert.equal("redirect", err.code)
        assert.matches("redirects to http", err.message)
    end)
end)

describe("http and secrets", function()
    it("shows none, neither in errors nor in what is kept", function()
        local port = t.free_port()
        local U = scripted(function(request)
            return answer("200 OK", "", request) -- an echo, Authorization and all
        end)
        local secrets = { TOKEN = "s3cret/bearer+token", HOOK = "http://127.0.0.1:" .. port .. "/T0/h00k-s3cret" }
        local err, run = problem([[ http.post(secret "HOOK", { json = { a = secret "TOKEN" } }) ]], nil, { env = secrets })
        assert.equal("connect", err.code)
        local echo = ask([[
            return { http.post(U, { bearer = secret "TOKEN", json = { deep = { secret "TOKEN" } } }).body,
                http.post(U, { basic = { user = "joe", password = secret "TOKEN" }, form = { a = secret "TOKEN" } }).body }
        ]], { U = U }, { env = secrets })
        assert.matches('"deep":%["‹secret TOKEN›"%]', echo.value[1])
        local base64 = "am9lOnMzY3JldC9iZWFyZXIrdG9rZW4="
        for _, r in ipairs { run, echo.run } do
            local kept = t.run { "grep", "-rlaE", "s3cret|" .. base64, r.state }
            assert.equal(1, kept.code, kept.out)
            for _, text in ipairs { r.out, r.err } do
                assert.is_nil(text:find("s3cret", 1, true))
                assert.is_nil(text:find(base64, 1, true))
            end
        end
    end)
end)
