local t = require "spec.helper"
local ask = require "spec.world.ask"

local CONFIG = [[
map $uri $nines { default "99999999999999999999999999999999999999999999999999999999999999"; }
server {
    listen 127.0.0.1:$port1;
    location /json { default_type application/json; return 200 '{"n":9007199254740993,"list":[],"none":null}'; }
    location /garbage { default_type application/json; return 200 '{"n":'; }
    location /problem { default_type application/problem+json; return 422 '{"title":"no"}'; }
    location /text { add_header X-Two a; add_header X-Two b; return 200 "hello"; }
    location /cookie { add_header Set-Cookie "session=abcdef123456; Path=/"; return 200 "ok"; }
    location /login { default_type application/json; return 200 '{"data":{"token":"t0ken-of-login"}}'; }
    location /503 { return 503; }
    location /empty { return 204; }
    location /cut { return 200 "$nines$nines and $http_x_key"; }
    location /bytes { alias $folder/bytes; }
    location /zip { gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any; alias $folder/zip.txt; }
    location /seen { return 200 "$request_method|$args|$content_type|$http_authorization|$http_x_number|$http_idempotency_key"; }
}
]]

describe("rollout.http", function()
    local server, U
    setup(function()
        server = t.nginx { http = CONFIG }
        U = "http://127.0.0.1:" .. server.ports[1]
        t.write(server.folder .. "/zip.txt", ("squeeze "):rep(1000))
        t.write(server.folder .. "/bytes", "\xff\xfe")
    end)

    local function value(body)
        local answer = ask(body, { U = U })
        assert.is_nil(answer.error and answer.error.message)
        assert.equal(0, answer.run.code, answer.run.err)
        return answer.value
    end

    local function problem(body)
        local answer = ask(body, { U = U })
        assert.is_truthy(answer.error, "no error")
        return answer.error
    end

    it("returns status, headers, body, decoded JSON, duration and URL", function()
        local r = value [[ return http.get(U .. "/json") ]]
        assert.equal(200, r.status)
        assert.equal("application/json", r.headers["content-type"])
        assert.equal('{"n":9007199254740993,"list":[],"none":null}', r.body)
        assert.equal(U .. "/json", r.url)
        assert.is_true(r.ms >= 0 and r.ms < 10000)
        assert.equal("9007199254740993", value [[ return tostring(http.get(U .. "/json").json.n) ]])
        assert.equal("no", value [[ return http.get(U .. "/problem").json.title ]])
        assert.equal("a, b", value [[ return http.get(U .. "/text").headers["x-two"] ]])
    end)

    it("masks an answer before it cuts it for a message", function()
        local answer = ask([[ http.get(U .. "/cut", { headers = { ["X-Key"] = secret "WORD" }, expect = 201 }) ]], { U = U },
            { env = { WORD = ("sesame-"):rep(12) } })
        assert.matches("9 and ‹secret WORD›", answer.error.message, 1, true)
        assert.is_nil(answer.error.message:find "sesame")
    end)

    it("takes an answer of any status for a result", function()
        assert.equal(503, value [[ return http.get(U .. "/503").status ]])
        assert.equal(204, value [[ return http.delete(U .. "/empty").status ]])
        assert.equal(404, value [[ return http.head(U .. "/nothing").status ]])
    end)

    it("fails on a status that was not expected", function()
        local err = problem [[ http.get(U .. "/503", { expect = { 200, 204 } }) ]]
        assert.equal("status", err.code)
        assert.equal("GET " .. U .. "/503 answered 503, expected 200 or 204: 503 Service Temporarily Unavailable", err.message)
        assert.equal(503, err.detail.status)
        assert.equal(204, value [[ return http.get(U .. "/empty", { expect = { 200, 204 } }).status ]])
    end)

    it("says that JSON is garbage, and goes on", function()
        local r = value [[ return http.get(U .. "/garbage") ]]
        assert.is_nil(r.json)
        assert.matches("line 1", r.json_error)
        assert.equal('{"n":', r.body)
    end)

    it("unpacks what is compressed", function()
        local r = value [[ local r = http.get(U .. "/zip"); return { r.headers["content-encoding"], #r.body } ]]
        assert.same({ "gzip", 8000 }, r)
    end)

    it("carries bytes that are not text", function()
        assert.equal(2, value [[ return #http.get(U .. "/bytes").body ]])
    end)

    it("sends query, form, JSON, headers and credentials", function()
        assert.equal("GET|a=x%20y%26z&b=2|||7|", value [[
            return http.get(U .. "/seen", { query = { b = 2, a = "x y&z" }, headers = { ["X-Number"] = 7 } }).body ]])
        assert.equal("GET|q=1&a=2||||", value [[ return http.get(U .. "/seen?q=1#top", { query = { a = 2 } }).body ]])
        assert.equal("POST||application/x-www-form-urlencoded|||", value [[
            return http.post(U .. "/seen", { form = { a = "1" } }).body ]])
        assert.equal("PUT||application/json|||", value [[ return http.put(U .. "/seen", { json = { a = 1 } }).body ]])
        assert.equal("PATCH||text/csv|||", value [[
            return http.patch(U .. "/seen", { body = "a;b", headers = { ["content-type"] = "text/csv" } }).body ]])
        assert.equal("GET|||Basic am9lOnBhc3N3b3Jk||", value [[
            return http.get(U .. "/seen", { basic = { user = "joe", password = "password" } }).body ]])
        assert.equal("POST|||Bearer abc||key-1", value [[
            return http.post(U .. "/seen", { bearer = "abc", idempotency_key = "key-1" }).body ]])
        assert.equal("OPTIONS|||||", value [[ return http.request("options", U .. "/seen").body ]])
    end)

    it("keeps no cookie that nobody declared", function()
        local answer = ask([[ return http.get(U .. "/cookie").headers ]], { U = U })
        assert.is_nil(answer.value["set-cookie"])
        assert.is_nil(answer.run.out:find("abcdef123456", 1, true))
    end)

    it("takes a token out of an answer as a secret", function()
        local answer = ask([[
            local token = http.post(U .. "/login", { json = { user = "joe" }, secret = "json.data.token" })
            return { shown = tostring(token), seen = http.get(U .. "/seen", { bearer = token }).body }
        ]], { U = U })
        assert.matches("^‹secret ", answer.value.shown)
        assert.matches("Bearer ‹secret ", answer.value.seen)
        assert.is_nil((answer.run.out .. answer.run.err):find("t0ken-of-login", 1, true))
        assert.equal("secret", problem([[ http.post(U .. "/login", { secret = "json.tokken" }) ]]).code)
        assert.equal("status", problem([[ http.get(U .. "/503", { secret = "json.token" }) ]]).code)
    end)

    it("is told in a plan, with nothing sent", function()
        local path, folder = t.playbook([[
            playbook "plan" { environments = { "test" } }
            local http = require "rollout.http"
            local page = step("look", function() return http.get("http://127.0.0.1:1/", { expect = 201 }) end)
            if page.status == 201 then note("made") end
            step("change", function()
                local token = http.post("http://127.0.0.1:1/login", { json = page.json.user, secret = "json.token" })
                http.put("http://127.0.0.1:1/" .. page.json.id, { bearer = token, form = { a = page.body } })
            end)
        ]])
        local plan = t.host { "plan", path, cwd = folder }
        assert.equal(0, plan.code, plan.err .. plan.out)
        for _, line in ipairs { "GET http://127.0.0.1:1/ .*read", "made", "POST http://127.0.0.1:1/login .*unsafe",
            "PUT http://127.0.0.1:1/‹known after run› .*idempotent" } do
            assert.matches(line, plan.out)
        end
    end)

    it("refuses what it cannot mean", function()
        for body, part in pairs {
            ['http.get("ftp://x/y")'] = "is not an http",
            ['http.get("http://x/a b")'] = "query",
            ['http.get(nil)'] = "the first argument is the URL, not nil",
            ['http.get(U, { timout = "5s" })'] = "timeout",
            ['http.get(U, { timeout = 5 })'] = "unit",
            ['http.get(U, { body = "x" })'] = "body",
            ['http.post(U, { body = "x", json = {} })'] = "body and json exclude each other",
            ['http.get(U, { bearer = "a", basic = { "b", "c" } })'] = "exclude",
            ['http.get(U, { expect = 2000 })'] = "status",
            ['http.get(U, { headers = { "X: 1" } })'] = "name = value",
            ['http.get(U, { headers = { ["X-A"] = "1\\r\\nX-B: 2" } })'] = "cannot be sent",
            ['http.get(U, { headers = { ["X A"] = "1" } })'] = "cannot be sent",
            ['http.get(U, { headers = { X = "a\\0b" } })'] = "NUL",
            ['http.check(U, { method = "POST" })'] = "GET, HEAD or OPTIONS",
            ['http.check(U, { json = { pth = "a" } })'] = "path",
        } do
            local message = problem(body).message
            assert.is_truthy(message:find(part, 1, true), body .. ": " .. message)
        end
    end)
end)

describe("http.check", function()
    local server, U
    setup(function()
        server = t.nginx { http = CONFIG }
        U = "http://127.0.0.1:" .. server.ports[1]
    end)

    local function check(arguments)
        local answer = ask(([[
            local e = http.check(%s)
            return { verdict = e.verdict, measured = e.measured, limit = e.limit, text = e.text }
        ]]):format(arguments), { U = U, CLOSED = "http://127.0.0.1:" .. t.free_port() })
        assert.is_nil(answer.error and answer.error.message)
        return answer.value
    end

    it("passes where the status is right", function()
        local e = check 'U .. "/text"'
        assert.equal("pass", e.verdict)
        assert.equal(200, e.measured)
        assert.matches("^GET http://.*/text: answered 200 in %d+ ms$", e.text)
        assert.equal("pass", check('U .. "/503", { status = { 200, 503 } }').verdict)
    end)

    it("fails where it is not, and says what was wanted", function()
        local e = check 'U .. "/503"'
        assert.equal("fail", e.verdict)
        assert.equal("GET " .. U .. "/503: answered 503, expected 200", e.text)
    end)

    it("looks into JSON, the body and the time", function()
        assert.equal("pass", check('U .. "/problem", { status = 422, json = { path = "title", equals = "no" } }').verdict)
        local e = check 'U .. "/problem", { status = 422, json = { path = "title", equals = "yes" } }'
        assert.same({ "fail", "no", "yes" }, { e.verdict, e.measured, e.limit })
        assert.equal("fail", check('U .. "/problem", { status = 422, json = { path = "tilte" } }').verdict)
        assert.equal("fail", check('U .. "/garbage", { json = { path = "n" } }').verdict)
        assert.equal("pass", check('U .. "/text", { body = "^hel+o$" }').verdict)
        assert.equal("fail", check('U .. "/text", { body = "bye" }').verdict)
        assert.equal("pass", check('U .. "/text", { max_ms = "10s" }').verdict)
    end)

    it("takes a refused connection for a fail, its own blindness for unknown", function()
        local e = check "CLOSED"
        assert.equal("fail", e.verdict)
        assert.equal("no answer: connect", e.measured)
        assert.matches("Connection refused", e.text)
        assert.equal("unknown", check('"http://nobody.invalid/"').verdict)
    end)
end)
