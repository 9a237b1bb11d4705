local t = require "spec.helper"

-- A server that takes requests and answers none until `answering` is set.
local function slow_server()
    local server = { seen = {} }
    server.port = t.serve(function(client, bytes)
        if bytes then
            server.seen[#server.seen + 1] = bytes
            if server.answering then
                client:write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            end
        end
    end)
    server.url = "http://127.0.0.1:" .. server.port .. "/"
    return server
end

-- Starts a run whose one step makes the request, and kills the host when the server has it.
local function killed(call)
    local server = slow_server()
    local path, folder = t.playbook(([[
        playbook "crash" { environments = { "test" } }
        local http = require "rollout.http"
        step("ask", function() return http.%s.body end)
    ]]):format(call:format(server.url)))
    local state = folder .. "/state"
    local host = t.start_host { path, state = state, cwd = folder }
    t.eventually("a request", function() return #server.seen == 1 end)
    host:kill("sigkill")
    host:wait()
    server.answering = true
    return server, { state = state, cwd = folder }
end

describe("http and a host that dies while a request is under way", function()
    it("reads again", function()
        local server, where = killed 'get("%s")'
        local resumed = t.host { "resume", state = where.state, cwd = where.cwd }
        assert.equal(0, resumed.code, resumed.err .. resumed.out)
        assert.equal(2, #server.seen)
    end)

    it("sends an idempotent change again, with the same key", function()
        local server, where = killed 'post("%s", { idempotency_key = "order-7" })'
        local resumed = t.host { "resume", state = where.state, cwd = where.cwd }
        assert.equal(0, resumed.code, resumed.err .. resumed.out)
        assert.equal(2, #server.seen)
        assert.matches("Idempotency%-Key: order%-7", server.seen[2])
    end)

    it("leaves an unsafe one to a person, and names it", function()
        local server, where = killed 'post("%s", { json = { n = 1 } })'
        local resumed = t.host { "resume", state = where.state, cwd = where.cwd }
        assert.equal(7, resumed.code, resumed.err .. resumed.out)
        assert.is_truthy((resumed.out .. resumed.err):find("POST " .. server.url, 1, true))
        assert.equal(1, #server.seen)
    end)

    it("downloads again, over what was left of the first time", function()
        local folder, seen, whole = t.temp(), 0, nil
        local port = t.serve(function(client, bytes)
            if bytes then
                seen = seen + 1
                client:write("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" .. ("x"):rep(whole and 2000000 or 1500000))
            end
        end)
        local path = t.playbook(([[
            playbook "crash" { environments = { "test" } }
            local http = require "rollout.http"
            step("get", function() return http.download("http://127.0.0.1:%d/", { to = "out" }).bytes end)
        ]]):format(port), nil, folder)
        local function temporary()
            return t.run({ "sh", "-c", "ls -A | grep '^[.]out[.]'", cwd = folder }).out:match("%S+")
        end
        local state = t.temp()
        local host = t.start_host { path, state = state, cwd = folder }
        local left = t.eventually("the beginning of a file", function() return seen == 1 and temporary() end)
        host:kill("sigkill")
        host:wait()
        assert.equal(left, temporary())
        assert.is_false(t.exists(folder .. "/out"))
        whole = true
        local resumed = t.host { "resume", state = state, cwd = folder }
        assert.equal(0, resumed.code, resumed.err .. resumed.out)
        assert.equal(2, seen)
        assert.is_nil(temporary())
        assert.equal(2000000, #t.read(folder .. "/out"))
    end)
end)
