local t = require "spec.helper"
local ask = require "spec.world.ask"

local function value(body, vars, options)
    local answer = ask(body, vars, options)
    assert.is_nil(answer.error and answer.error.message)
    return answer.value
end

local function problem(body, vars)
    local answer = ask(body, vars)
    assert.is_truthy(answer.error, "no error")
    return answer.error
end

-- A server that answers each request after at least what delay(number) says, in ms; nil: never. `answer` is what it says.
local function slow(delay, answer)
    local uv, number, server = require "luv", 0, { most = 0, busy = 0 }
    server.port = t.serve(function(client, bytes)
        if not bytes then
            return
        end
        for _ in bytes:gmatch("GET ") do
            number = number + 1
            server.busy = server.busy + 1
            server.most = math.max(server.most, server.busy)
            local ms = delay(number)
            if ms then
                -- libuv counts from when this turn of its loop began, in whole milliseconds: without these two it fires early
                uv.update_time()
                local timer = uv.new_timer()
                timer:start(ms > 0 and ms + 1 or 0, 0, function()
                    timer:close()
                    server.busy = server.busy - 1
                    client:write(answer or "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                end)
            end
        end
    end)
    server.url = "http://127.0.0.1:" .. server.port .. "/"
    function server.count() return number end
    return server
end

describe("http.sample", function()
    it("counts, and tells rate and percentiles", function()
        local server = t.nginx { http = 'server { listen 127.0.0.1:$port1; location / { return 200 "hello"; } }' }
        local r = value([[ return http.sample { url = U, n = 2000, concurrency = 8 } ]],
            { U = "http://127.0.0.1:" .. server.ports[1] })
        assert.same({ 2000, 0, 10000, 0 }, { r.count, r.errors, r.bytes, r.error_rate })
        assert.is_true(r.rate > 100)
        assert.is_true(r.min <= r.p50 and r.p50 <= r.p90 and r.p90 <= r.p95 and r.p95 <= r.p99 and r.p99 <= r.max)
        local counted = 0
        for _, bucket in ipairs(r.histogram) do
            counted = counted + bucket.count
        end
        assert.equal(2000, counted)
        local _, requests = server.access():gsub("GET / ", "")
        assert.equal(2000, requests)
    end)

    it("has no more under way than it was told", function()
        local server = slow(function() return 20 end)
        local r = value([[ return http.sample { url = U, n = 20, concurrency = 4 } ]], { U = server.url })
        assert.equal(20, r.count)
        assert.equal(4, server.most)
        assert.is_true(r.p50 >= 20)
    end)

    it("sends at its rate, for its duration", function()
        local server = slow(function() return 1 end)
        local r = value([[ return http.sample { url = U, duration = "1s", rate = 50 } ]], { U = server.url })
        assert.equal(50, r.count)
        assert.equal(50, server.count())
    end)

    it("does not leave out the requests that a standing server delayed", function()
        -- one of 100 requests takes 500 ms; sent one after the other, 49 others wait for it
        local server = slow(function(n) return n == 20 and 500 or 0 end)
        local r = value([[ return http.sample { url = U, n = 100, rate = 100, concurrency = 1 } ]], { U = server.url })
        assert.equal(100, r.count)
        assert.is_true(r.p90 > 200, "p90 " .. r.p90)
        assert.is_true(r.max >= 500)
    end)

    it("counts what was due and never sent as an error that has waited", function()
        local server = slow(function(n) return n == 1 and 900 or 0 end)
        local r = value([[ return http.sample { url = U, duration = "500ms", rate = 100, concurrency = 1 } ]], { U = server.url })
        assert.same({ 50, 49, { unsent = 49 } }, { r.count, r.errors, r.errors_by })
        assert.is_true(r.p50 > 400, "p50 " .. r.p50)
    end)

    it("tells errors by their kind", function()
        local n = 0
        local server = t.serve(function(client, bytes)
            if bytes then
                n = n + 1
                if n % 4 == 0 then
                    client:write("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                elseif n % 4 == 1 then
                    client:write("SSH-2.0-OpenSSH\r\n", function() client:close() end)
                elseif n % 4 == 2 then
                    client:write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                end
            end
        end)
        local r = value([[ return http.sample { url = U, n = 24, concurrency = 6, timeout = "1500ms" } ]],
            { U = "http://127.0.0.1:" .. server })
        assert.equal(24, r.count)
        local errors = 0
        for _, count in pairs(r.errors_by) do
            errors = errors + count
        end
        assert.equal(r.errors, errors)
        assert.is_true(r.errors_by["503"] > 0 and r.errors_by.protocol > 0 and r.errors_by.timeout > 0)
        assert.is_true(r.error_rate > 0.5 and r.error_rate < 0.9)
        local closed = value([[ return http.sample { url = U, n = 10 } ]], { U = "http://127.0.0.1:" .. t.free_port() })
        assert.same({ 10, 10, 1, { connect = 10 } }, { closed.count, closed.errors, closed.error_rate, closed.errors_by })
        assert.is_nil(closed.p95)
    end)

    it("takes other statuses for fine where told", function()
        local server = t.nginx { http = "server { listen 127.0.0.1:$port1; location / { return 503; } }" }
        local vars = { U = "http://127.0.0.1:" .. server.ports[1] }
        assert.equal(0, value([[ return http.sample { url = U, n = 5, expect = { 200, 503 } } ]], vars).errors)
        assert.same({ ["503"] = 5 }, value([[ return http.sample { url = U, n = 5 } ]], vars).errors_by)
    end)

    it("ends with its step", function()
        local server = slow(function() return nil end)
        local run = t.play(([[
            playbook "late" { environments = { "test" } }
            local http = require "rollout.http"
            step("ask", { timeout = "300ms" }, function()
                return http.sample { url = %q, n = 9, concurrency = 3, timeout = "1h" }
            end)
        ]]):format(server.url))
        assert.equal(1, run.code, run.err)
        assert.matches('"code":"timeout"', run.out)
        assert.equal(3, server.count())
    end)

    it("stands in gates and plans", function()
        local server = slow(function() return 0 end)
        local text = ([[
            playbook "gate" { environments = { "test" } }
            local http = require "rollout.http"
            gate("fast", function()
                local s = http.sample { url = %q, n = 50, concurrency = 5 }
                return { expect("p95", s.p95):below(5000, "ms"), expect("errors", s.error_rate):at_most("1%%") }
            end)
            step("load", function() return http.sample { url = %q, duration = "10s", rate = 5.5 } end)
        ]]):format(server.url, server.url)
        local path, folder = t.playbook(text)
        local plan = t.host { "plan", path, cwd = folder }
        assert.equal(0, plan.code, plan.err .. plan.out)
        assert.matches("sample GET http://.* for 10s, 5.5 a second", plan.out)
        assert.equal(0, server.count())
        local run = t.play((text:gsub('step%b()', "")))
        assert.equal(0, run.code, run.err .. run.out)
        assert.equal(50, server.count())
    end)

    it("has as many files open as it may, and says when they are too few", function()
        local server = t.nginx { http = 'server { listen 127.0.0.1:$port1; location / { return 200 "hello"; } }' }
        local path = t.write(t.temp() .. "/sample.lua", ([[
            local http = require "rollout.http"
            local ok, r = pcall(http.sample, { url = "http://127.0.0.1:%d/", n = 600, concurrency = 300 })
            io.write(ok and r.count .. " " .. r.errors or r.code .. " " .. r.message)
        ]]):format(server.ports[1]))
        local function limited(limit)
            return t.run({ "sh", "-c", ("%s; exec %s lua %s"):format(limit, t.binary, path) }).out
        end
        assert.equal("600 0", limited "ulimit -Sn 128")
        assert.matches("^limit 300 requests at once need as many open files, and this process may have 200: raise", limited
            "ulimit -n 200")
    end)

    it("refuses what it cannot mean", function()
        for body, part in pairs {
            ["http.sample(U)"] = "takes a table",
            ["http.sample { url = U }"] = "n (how many) or duration",
            ["http.sample { url = U, n = 5, duration = '1s' }"] = "one of them",
            ["http.sample { url = U, n = 0 }"] = "n is more than 0",
            ["http.sample { url = U, n = 5, concurrency = 100000 }"] = "10000 at most",
            ["http.sample { url = U, n = 5, redirects = 1 }"] = "unknown option",
            ["http.sample { n = 5 }"] = "the first argument is the URL",
        } do
            local message = problem(body, { U = "http://127.0.0.1:1" }).message
            assert.is_truthy(message:find(part, 1, true), body .. ": " .. message)
        end
    end)
end)
