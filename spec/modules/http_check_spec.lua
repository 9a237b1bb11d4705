local t = require "spec.helper"
local ask = require "spec.world.ask"

local CONFIG = [[
server {
    listen 127.0.0.1:$port1 ssl;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    location /good {
        add_header Strict-Transport-Security "max-age=31536000; includeSubDomains";
        add_header Content-Security-Policy "default-src 'self'; frame-ancestors 'none'";
        add_header X-Content-Type-Options nosniff;
        add_header Referrer-Policy strict-origin;
        return 200 "hello, world";
    }
    location /bare { add_header Strict-Transport-Security "max-age=60"; add_header Referrer-Policy unsafe-url; return 200 "bare"; }
    location /open { add_header Access-Control-Allow-Origin *; return 200 "open"; }
    location /mirror { add_header Access-Control-Allow-Origin $http_origin; return 200 "mirror"; }
    location /ours { add_header Access-Control-Allow-Origin https://ours.example; return 200 "ours"; }
    location /json {
        default_type application/json;
        return 200 '{"queue":{"length":7},"state":"ok","none":null,"off":false,"tags":["a"]}';
    }
    location /trace { return 200 "Traceback (most recent call last): File x"; }
}
server { listen 127.0.0.1:$port2; return 301 https://127.0.0.1:$port1$request_uri; }
server { listen 127.0.0.1:$port3; location / { return 200 "clear"; } location /loop { return 302 http://127.0.0.1:$port3/loop; } }
]]

describe("http.check looks at", function()
    local vars
    setup(function()
        local certificates = t.certificates()
        local server = t.nginx { http = CONFIG:gsub("CERT", certificates.good.cert):gsub("KEY", certificates.good.key) }
        vars = { U = "https://127.0.0.1:" .. server.ports[1], CA = certificates.ca,
            REDIRECT = "http://127.0.0.1:" .. server.ports[2], CLEAR = "http://127.0.0.1:" .. server.ports[3] }
    end)

    local function check(url, options)
        local answer = ask(([[
            local options = { %s }
            options.ca = CA
            local e = http.check(%s, options)
            return { verdict = e.verdict, measured = e.measured, limit = e.limit, text = e.text, unit = e.unit }
        ]]):format(options, url), vars)
        assert.is_nil(answer.error and answer.error.message)
        return answer.value
    end

    local function passes(url, options)
        local e = check(url, options)
        assert.equal("pass", e.verdict, e.text)
        return e
    end

    local function fails(url, options, text)
        local e = check(url, options)
        assert.equal("fail", e.verdict, e.text)
        assert.is_truthy(e.text:find(text, 1, true), e.text)
        return e
    end

    it("headers", function()
        passes('U .. "/good"', [[ expect_headers = { ["content-type"] = "^text/plain", ["x-powered-by"] = false, server = true } ]])
        fails('U .. "/good"', [[ expect_headers = { ["content-type"] = "json" } ]],
            "content-type is text/plain, expected matching json")
        fails('U .. "/good"', [[ expect_headers = { server = false } ]], "server is nginx")
        fails('U .. "/good"', [[ expect_headers = { ["x-request-id"] = true } ]], "x-request-id is missing, expected one")
    end)

    it("values in JSON", function()
        passes('U .. "/json"', [[ json = { { path = "queue.length", at_most = 10, at_least = 7 },
            { path = "state", one_of = { "ok", "up" } }, { path = "off", equals = false },
            { path = "tags.1", matches = "^a$" } } ]])
        fails('U .. "/json"', [[ json = { path = "queue.length", at_most = 6 } ]], "queue.length is 7, expected at most 6")
        fails('U .. "/json"', [[ json = { path = "queue.length", at_least = 8 } ]], "queue.length is 7, expected at least 8")
        fails('U .. "/json"', [[ json = { path = "state", at_least = 8 } ]], "state is ok, expected at least 8")
        fails('U .. "/json"', [[ json = { path = "state", matches = "^down" } ]], "state is ok, expected matching ^down")
        fails('U .. "/json"', [[ json = { path = "state", one_of = { "down" } } ]], 'expected one of ["down"]')
        fails('U .. "/json"', [[ json = { path = "off", equals = true } ]], "off is false, expected true")
        fails('U .. "/json"', [[ json = { path = "none" } ]], "expected present")
        fails('U .. "/json"', [[ json = { path = "nothing.here" } ]], "nothing.here is missing, expected present")
        fails('U .. "/good"', [[ json = { path = "state" } ]], "its body is no JSON, expected JSON")
    end)

    it("the body and its size", function()
        passes('U .. "/good"', [[ body = "hello", body_not = "Traceback", min_bytes = "5B", max_bytes = "1KiB" ]])
        fails('U .. "/trace"', [[ body_not = "Traceback.-%)" ]], "its body has Traceback (most recent call last), expected nothing")
        fails('U .. "/good"', [[ min_bytes = "1KiB" ]], "its body has 12 bytes, expected at least 1024 bytes")
        fails('U .. "/good"', [[ max_bytes = "5B" ]], "its body has 12 bytes, expected at most 5 bytes")
    end)

    it("security headers, and tells all that is missing", function()
        passes('U .. "/good"', "security = true")
        passes('U .. "/good"', [[ security = { hsts = "300d", csp = "default%-src 'self'" } ]])
        local e = fails('U .. "/bare"', "security = true",
            "strict-transport-security is max-age=60, expected max-age=15552000 or more")
        for _, part in ipairs { "content-security-policy is missing", "x-content-type-options is missing, expected nosniff",
            "x-frame-options is missing", "referrer-policy is unsafe-url" } do
            assert.is_truthy(e.text:find(part, 1, true), e.text)
        end
        fails('U .. "/good"', [[ security = { hsts = "400d" } ]], "expected max-age=34560000 or more")
        fails('U .. "/good"', [[ security = { csp = "script%-src" } ]], "expected matching script%-src")
    end)

    it("whether foreign pages are kept out", function()
        passes('U .. "/good"', "cors = true")
        passes('U .. "/ours"', [[ cors = "https://evil.example" ]])
        fails('U .. "/ours"', [[ cors = "https://ours.example" ]], "it lets pages of https://ours.example read it")
        fails('U .. "/open"', "cors = true", "access-control-allow-origin is *")
        fails('U .. "/mirror"', "cors = true", "access-control-allow-origin is https://foreign.invalid")
    end)

    it("the certificate", function()
        local e = passes('U .. "/good"', [[ certificate = { days = 5, issuer = "authority" } ]])
        assert.matches("its certificate is for 127.0.0.1, localhost, by CN=authority, 9 days left", e.text)
        e = fails('U .. "/good"', "certificate = true",
            "the certificate of CN=good expires in 9 days, expected at least 14 days")
        assert.same({ 9, "days" }, { e.measured, e.unit })
        fails('U .. "/good"', [[ certificate = { days = 5, issuer = "Let's" } ]], "its certificate's issuer is CN=authority")
        -- again, over a connection of its own: a kept one would show none
        local answer = ask([[
            http.get(U .. "/good", { ca = CA })
            return http.check(U .. "/good", { ca = CA, certificate = { days = 1 } }).verdict
        ]], vars)
        assert.equal("pass", answer.value)
    end)

    it("whether http leads to https", function()
        passes('REDIRECT .. "/x"', "to_https = true")
        fails("CLEAR", "to_https = true", "answered 200, expected 301 or 302 or 303 or 307 or 308")
        fails('CLEAR .. "/loop"', "to_https = true", "it leads to http://")
    end)

    it("more than one thing", function()
        local e = fails('U .. "/good"', [[ status = 204, body = "bye", max_bytes = "3B" ]], "answered 200, expected 204")
        assert.is_truthy(e.text:find("; its body is hello, world, expected matching bye; its body has 12 bytes", 1, true), e.text)
    end)

    it("nothing that has no meaning", function()
        for body, part in pairs {
            ['http.check("https://x/", { to_https = true })'] = "the URL is the http:// one",
            ['http.check("http://x/", { certificate = true })'] = "only https:// has one",
            ['http.check("http://x/", { security = { hst = true } })'] = 'did you mean "hsts"',
            ['http.check("http://x/", { json = { { pth = "a" } } })'] = "path",
            ['http.check("http://x/", { expect_headers = { "server" } })'] = "expect_headers is",
        } do
            local answer = ask(body, vars)
            assert.is_truthy(answer.error and answer.error.message:find(part, 1, true), body .. ": "
                .. tostring(answer.error and answer.error.message))
        end
    end)
end)
