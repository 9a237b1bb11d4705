-- rollout.docker when things are not as they should be: no engine, no image, no port, no health; too much output.
local docker = require "spec.world.docker"
local t = require "spec.helper"

local HEAD = 'local docker = require "rollout.docker"; local engine = docker.engine(%s)\n'

local function at(socket)
    return HEAD:format(('{ host = "unix://%s" }'):format(socket))
end

describe("docker in trouble", function()
    local engine, head

    setup(function()
        engine = docker.start()
        engine:image("box:1", { 'CMD ["sleep", "3600"]' })
        head = at(engine.socket)
    end)

    local function refused(code, text, words)
        local value, err = t.body(text, { env = { TOKEN = "swordfish-77" } })
        assert.is_nil(value)
        assert.equal(code, err.code, err.message)
        for _, one in ipairs(words) do
            assert.truthy(err.message:find(one, 1, true), err.message)
        end
        return err
    end

    it("names an engine that is not there", function()
        local socket = t.temp() .. "/docker.sock"
        refused("no_daemon", at(socket) .. "return engine:ping()", { socket, "is dockerd running there" })
    end)

    it("names a socket that it may not use", function()
        local folder = t.temp()
        local other = folder .. "/docker.sock"
        t.run { "chmod", "777", folder }
        t.run { "python3", "-c", "import socket, os, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
            .. "os.chmod(sys.argv[1], 0o600)", other }
        local path = t.playbook(('playbook "spec" { environments = { "test" } }\n%s'
            .. 'step("it", function() return engine:ping() end)\n'):format(at(other)), "spec", folder)
        local result = t.run { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", t.binary, path, "--state",
            folder .. "/state", cwd = folder, env = { HOME = folder } }
        if result.err:find("failed to execute", 1, true) then
            pending("the build is in a folder that is not open to others")
        end
        assert.equal(1, result.code, result.out .. result.err)
        assert.truthy(result.out:find("member of the group", 1, true), result.out)
        assert.truthy(result.out:find(other, 1, true), result.out)
    end)

    it("does not wait for an engine that has gone when it was to take a command's input", function()
        local asked = {}
        local port = t.serve(function(client, bytes)
            asked[client] = (asked[client] or "") .. (bytes or "")
            local path, body = asked[client]:match("^%u+ (%S+).-\r\n\r\n(.*)$")
            if path and path:find("/start$") and body:find("}$") then
                client:close()
            elseif path and (body:find("}$") or path:find("/json$")) then
                asked[client] = ""
                local said = '{"Id":"one","ID":"one","Running":false}'
                client:write(("HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s"):format(#said, said))
            end
        end)
        local _, err = t.body(('local docker = require "rollout.docker"; return docker.engine({ host = "tcp://127.0.0.1:%d" })'
            .. ':container("one"):exec({ "cat" }, { stdin = "fed" })'):format(port))
        assert.equal("no_daemon", err.code, err.message)
        assert.matches("went away before it had answered", err.message, 1, true)
    end)

    it("names an image that is not there", function()
        refused("no_image", head .. [[return engine:create { image = "nothing:v9" }]], { "nothing:v9", "engine:pull" })
        refused("no_image", head .. [[return engine:tag("nothing:v9", { as = "some:v1" })]], { "nothing:v9" })
    end)

    it("names a container that is not there", function()
        refused("no_container", head .. [[return engine:container("ghost"):start()]], { "ghost" })
        refused("no_container", head .. [[return engine:container("ghost"):exec { "true" }]], { "ghost" })
        refused("no_container", head .. [[return engine:container("ghost"):logs()]], { "ghost" })
    end)

    it("names a name that is taken", function()
        engine:cli { "create", "--name", "taken", "box:1" }
        refused("conflict", head .. [[return engine:create { name = "taken", image = "box:1" }]], { "taken", "has not made" })
    end)

    it("names a port in use", function()
        engine:cli { "run", "-d", "-p", "127.0.0.1:8077:80", "box:1" }
        refused("port_in_use", head .. [[
            local made = engine:create { image = "box:1", ports = { "127.0.0.1:8077:80" } }
            return engine:container(made):start()
        ]], { "8077", "docker ps" })
        refused("port_in_use", head .. [[return engine:run { name = "once", image = "box:1", ports = { "127.0.0.1:8077:80" } }]],
            { "8077" })
        refused("no_container", head .. [[return engine:container "once":inspect()]], { "once" })
    end)

    it("shows the last words of a container that exits at once", function()
        local err = refused("exited", head .. [[
            local made = engine:create { name = "brief", image = "box:1", command = "echo no such table >&2; exit 3" }
            return engine:container(made):start { healthy = "10s" }
        ]], { "brief", "exited with 3", "no such table" })
        assert.equal(3, err.detail.exit)
    end)

    it("shows the last words of a container that never gets healthy, and of its health check", function()
        local text = [[
            local made = engine:create { name = %q, image = "box:1", command = "echo connecting; exec sleep 100",
                health = { command = "echo connection refused; exit 1", interval = "%s", retries = 2 } }
        ]]
        local words = { "connecting", "connection refused" }
        refused("unhealthy", head .. text:format("sick", "100ms") .. [[
            return engine:container(made):start { healthy = "20s" }]], words)
        refused("timeout", head .. text:format("slow", "60s") .. [[
            return engine:container(made):start { healthy = "300ms" }]], { "slow", "after 300ms", "connecting" })
    end)

    it("measures health for a gate, and tells no data from bad news", function()
        engine:cli { "run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "100ms", "box:1" }
        engine:cli { "run", "-d", "--name", "plain", "box:1" }
        engine:cli { "run", "-d", "--name", "gone", "box:1", "sh", "-c", "echo out of cheese; exit 1" }
        local text = ([[
playbook "spec" { environments = { "test" } }
%s
gate("it", function() return engine:container(%%q):healthy "5s" end)
]]):format(head)
        local function gate(name)
            local out = t.play(text:format(name)).out
            return out:match '"verdict":"(%l+)"', out
        end
        assert.equal("pass", (gate "well"))
        assert.equal("unknown", (gate "plain"))
        local verdict, out = gate "gone"
        assert.equal("fail", verdict)
        assert.truthy(out:find("out of cheese", 1, true), out)
    end)

    it("fails a command that fails, with what it said", function()
        engine:cli { "run", "-d", "--name", "worker", "box:1" }
        refused("exit", head .. [[return engine:container("worker"):exec { "sh", "-c", "echo broken >&2; exit 4" }]],
            { "exited with 4", "broken" })
        refused("command_not_found", head .. [[return engine:container("worker"):exec { "pnpm", "build" }]], { "pnpm" })
        refused("timeout", head .. [[return engine:container("worker"):exec({ "sleep", "60" }, { timeout = "300ms" })]],
            { "sleep 60", "goes on in its container" })
        refused("usage", head .. [[return engine:container("worker"):exec { "login", secret "TOKEN" }]],
            { "argument 2 is a secret" })
        refused("usage", head .. [[return engine:containers { al = true }]], { "all" })
    end)

    it("lets go of what it waits for when its step's time is up", function()
        engine:cli { "run", "-d", "--name", "sleeper", "box:1" }
        for _, call in ipairs { 'exec { "sleep", "60" }', "wait()", 'healthy "60s"' } do
            local result = t.play(([[
playbook "spec" { environments = { "test" } }
%s
step("it", { timeout = "400ms" }, function() return engine:container "sleeper":%s end)
]]):format(head, call))
            assert.equal(1, result.code, result.out .. result.err)
            assert.truthy(result.out:find("was not finished within 400ms", 1, true), result.out)
        end
    end)

    it("keeps the first and the last of a long log", function()
        engine:cli { "run", "--name", "chatter", "box:1", "sh", "-c",
            "echo first; yes $(printf %099d 0) | head -c 2000000; echo last" }
        local value, err = t.body(head .. [[
            local chatter = engine:container "chatter"
            local all = chatter:logs { capture = "64KiB" }
            return { bytes = all.bytes, first = all.out:sub(1, 6), last = all.out:sub(-5), size = #all.out, cut = all.truncated,
                tail = chatter:logs { tail = 1 }.out }
        ]])
        assert.is_nil(err and err.message)
        assert.same({ bytes = 2000011, first = "first\n", last = "last\n", size = value.size, cut = true, tail = "last\n" }, value)
        assert.is_true(value.size < 66000)
    end)

    -- What is asked of a server that answers each request with that body.
    local function answered(body, call)
        local port = t.serve(function(client, bytes)
            if bytes then
                local text = type(body) == "function" and body(bytes) or body
                client:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#text, text))
            end
        end)
        local _, err = t.body(('local docker = require "rollout.docker"; return docker.engine({ host = "tcp://127.0.0.1:%d" }):%s')
            :format(port, call))
        return err
    end

    it("tells an engine from what is none", function()
        for _, call in ipairs { "ping()", "version()", "containers()", 'container("x"):inspect()', 'container("x"):logs()',
            'container("x"):stop()', 'pull "x:1"', 'image "x:1"', 'events { since = "1m" }' } do
            local err = answered("<html>It works!</html>", call)
            assert.equal("protocol", err and err.code, call .. ": " .. tostring(err and err.message))
            assert.truthy(err.message:find("It works", 1, true), err.message)
        end
    end)

    it("does not take half a log for a whole one", function()
        local function half(frames)
            return function(bytes)
                return bytes:find("/json", 1, true) and '{"Id":"x","Name":"/x","Config":{},"State":{"Status":"running"}}' or frames
            end
        end
        assert.is_nil(answered(half "\1\0\0\0\0\0\0\2ok", 'container("x"):logs()'))
        assert.equal("no_daemon", answered(half "\1\0\0\0\0\0\0\9ok", 'container("x"):logs()').code)
        assert.equal("protocol", answered(half "plain text\n", 'container("x"):logs()').code)
    end)

    -- An engine that says little but a log of one gibibyte, frame by frame.
    local function talkative()
        local count, payload = 1024, ("0123456789abcde\n"):rep(65536)
        local frame = "\1\0\0\0" .. (">I4"):pack(#payload) .. payload
        local sent = 0
        local port = t.serve(function(client, bytes)
            if not bytes then
                return
            elseif bytes:find("/json", 1, true) then
                local answer = '{"Id":"c1","Name":"/big","Config":{"Tty":false},"State":{"Status":"running"}}'
                client:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#answer, answer))
                return
            end
            local function more(err)
                if err or sent == count then
                    client:close()
                    return
                end
                sent = sent + 1
                client:write(frame, more)
            end
            client:write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", more)
        end)
        return port, count * #payload
    end

    it("reads a log of 1 GiB in bounded memory", function()
        local port, bytes = talkative()
        local value, err = t.body(([[
            local docker = require "rollout.docker"
            local big = docker.engine({ host = "tcp://127.0.0.1:%d" }):container "big"
            local all = big:logs()
            return { bytes = all.bytes, size = #all.out, cut = all.truncated,
                peak = fs.read("/proc/self/status"):match "VmHWM:%%s*(%%d+)" }
        ]]):format(port), { timeout = 120, env = { ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":quarantine_size_mb=8" } })
        assert.is_nil(err and err.message)
        assert.equal(bytes, value.bytes)
        assert.is_true(value.size < 1100000)
        assert.is_true(tonumber(value.peak) < 64 * 1024, value.peak .. " KiB")
    end)
end)
