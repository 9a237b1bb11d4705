local t = require "spec.helper"
local redis = require "spec.world.redis"

local PLAY = [[
    local redis = require "rollout.redis"
    playbook "spec" { environments = { "test" } }
    local server = redis.server { url = %s, ca = %s, password = %s, timeout = %q }
    %s
]]

local function play(place, text, env)
    if type(place) == "string" then
        place = { url = ("%q"):format(place) }
    end
    return t.play(PLAY:format(place.url, place.ca and ("%q"):format(place.ca), place.password, place.timeout or "10s", text),
        { env = env })
end

local function step(place, text, env)
    return t.outcome(play(place, ('return step("it", function() %s end)'):format(text), env))
end

local function checked(place, options, env)
    local result = play(place, ('gate("it", function() return server:check(%s) end)'):format(options or ""), env)
    local found
    for _, event in ipairs(result.events) do
        found = event.type == "check" and event.payload or found
    end
    assert(found, result.out .. result.err)
    return found.expectations[1], result
end

-- A server that says `answer` to whatever it hears; nil: nothing, ever; false: it closes.
local function liar(answer)
    return "redis://127.0.0.1:" .. t.serve(function(client, bytes)
        if bytes and answer then
            client:write(answer)
        elseif bytes and answer == false then
            client:close()
        end
    end)
end

describe("redis", function()
    local server

    setup(function()
        server = redis.start { args = { "--maxmemory", "50mb" } }
        server.command("SET", "greeting", "h\195\164llo")
        server.command("RPUSH", "queue", "a", "b", "c")
        server.command("-n", "3", "SET", "greeting", "three")
    end)

    it("answers: ping, info, what is read", function()
        local value = assert(step(server.url, [[
            local info = server:info()
            return { ms = server:ping().ms, role = info.role, memory = info.maxmemory,
                clients = server:info("clients").connected_clients,
                length = server:read("LLEN", "queue"), all = server:read("LRANGE", "queue", 0, -1),
                text = server:read("GET", "greeting"), none = server:read("GET", "nothing") == nil,
                empty = server:read("KEYS", "zz*") }
        ]]))
        assert.is_true(value.ms >= 0 and value.clients >= 1)
        value.ms, value.clients = nil, nil
        assert.same({ role = "master", memory = 52428800, length = 3, all = { "a", "b", "c" }, text = "h\195\164llo", none = true,
            empty = {} }, value)
    end)

    it("takes the database and the socket from the URL", function()
        assert.equal("three", step(server.url .. "/3", 'return server:read("GET", "greeting")'))
        assert.equal("three", step("unix://" .. server.socket .. "?db=3", 'return server:read("GET", "greeting")'))
        local _, problem = step(server.url .. "/99", "server:ping()")
        assert.same({ "refused", "redis" }, { problem.code, problem.module })
        assert.matches("DB index is out of range", problem.message)
    end)

    it("reads only: the server says which commands do", function()
        local told = assert(step(server.url, [[
            local told = {}
            for i, words in ipairs { { "FLUSHALL" }, { "SET", "a", "b" }, { "CONFIG", "SET", "a", "b" },
                { "EVAL", "return 1", "0" }, { "NONSENSE" }, { "LLEN", "greeting" } } do
                local _, problem = pcall(server.read, server, table.unpack(words))
                told[i] = problem.message
            end
            return told
        ]]))
        for i = 1, 4 do
            assert.matches("is no command that only reads", told[i])
        end
        assert.matches("it knows no command NONSENSE", told[5])
        assert.matches("LLEN: WRONGTYPE", told[6])
        assert.equal("3\n", server.command("LLEN", "queue"))
    end)

    it("takes what is large, and not too large", function()
        server.command("EVAL", "return redis.call('SETRANGE', 'big', 3000000, 'x')", "0")
        local result = play(server.url, [[
            gate("it", function() return expect("bytes", #server:read("GET", "big")):equals(3000001) end)
        ]])
        assert.equal(0, result.code, result.out)
        server.command("EVAL", "return redis.call('SETRANGE', 'big', 9000000, 'x')", "0")
        local _, problem = step(server.url, 'server:read("GET", "big")')
        assert.equal("too_large", problem.code)
        server.command("DEL", "big")
    end)

    it("is checked: role, replicas, memory", function()
        local found = checked(server.url, '{ role = "master", memory = "80%", saved = true }')
        assert.same({ "pass", "PONG" }, { found.verdict, found.measured })
        assert.matches("Redis %d+%.[%d.]+, master, %S+ used", found.text)
        found = checked(server.url, '{ role = "slave" }')
        assert.same({ "fail", "master", "slave" }, { found.verdict, found.measured, found.limit })
        found = checked(server.url, "{ replicas = 1 }")
        assert.same({ "fail", 0, 1 }, { found.verdict, found.measured, found.limit })
        found = checked(server.url, '{ memory = "0.1%" }')
        assert.equal("fail", found.verdict)
        assert.matches("of its memory is used, expected at most 0.1%%", found.text)
    end)

    it("sees a replica whose master is gone, and a save that failed", function()
        local lonely = redis.start { args = { "--replicaof", "127.0.0.1 1" } }
        local found = checked(lonely.url)
        assert.same({ "fail", "down" }, { found.verdict, found.measured })
        local unable = redis.start()
        t.run { "mkdir", unable.folder .. "/dump.rdb" }
        unable.command("BGSAVE")
        t.eventually("a failed save", function()
            return unable.command("INFO", "persistence"):find "rdb_last_bgsave_status:err"
        end)
        assert.matches("its last save failed", checked(unable.url, "{ saved = true }").text)
    end)

    it("logs in, and keeps the password to itself", function()
        local shut = redis.start { password = "s3same-open" }
        local env = { REDIS_URL = ("redis://:s3same-open@127.0.0.1:%d/0"):format(shut.port), PASSWORD = "s3same-open",
            WRONG = "s3same-shut" }
        for _, place in ipairs { { url = 'secret "REDIS_URL"' }, { url = ("%q"):format(shut.url), password = 'secret "PASSWORD"' },
            { url = 'env.require { REDIS_URL = { format = "redis" } }.REDIS_URL' } } do
            local found, result = checked(place, nil, env)
            assert.equal("pass", found.verdict, found.text)
            assert.is_nil((result.out .. result.err):find("s3same", 1, true))
            assert.equal(1, t.run { "grep", "-rqa", "s3same", result.state }.code)
        end
        local found, result = checked({ url = ("%q"):format(shut.url), password = 'secret "WRONG"' }, nil, env)
        assert.same({ "fail", "access_denied" }, { found.verdict, found.measured })
        assert.matches("the password, or the user, is not right", found.text)
        assert.is_nil((result.out .. result.err):find("s3same", 1, true))
        local _, problem = step(shut.url, "server:ping()")
        assert.equal("access_denied", problem.code)
        assert.matches("NOAUTH.*it wants a password", problem.message)
        _, problem = step({ url = ("%q"):format(server.url), password = 'secret "PASSWORD"' }, "server:ping()", env)
        assert.matches("it has no password, and one was given", problem.message)
        shut.command("ACL", "SETUSER", "looker", "on", ">s3same-open", "+ping")
        _, problem = step({ url = ('"redis://looker@127.0.0.1:%d"'):format(shut.port), password = 'secret "PASSWORD"' },
            "server:ping() server:info()", env)
        assert.equal("access_denied", problem.code)
        assert.matches("NOPERM", problem.message)
    end)

    it("is known to be down", function()
        local found = checked("redis://127.0.0.1:1")
        assert.same({ "fail", "connect" }, { found.verdict, found.measured })
        assert.equal("connect", checked("unix:///nowhere/redis.sock").measured)
        found = checked("redis://no-such-host.invalid")
        assert.same({ "unknown", "dns" }, { found.verdict, found.measured })
        found = checked(liar("HTTP/1.1 400 Bad Request\r\n\r\n"))
        assert.same({ "fail", "protocol" }, { found.verdict, found.measured })
        assert.matches("no Redis .*if it wants TLS, the URL begins with rediss", found.text)
        assert.equal("reset", checked(liar(false)).measured)
        found = checked { url = ("%q"):format(liar(nil)), timeout = "200ms" }
        assert.same({ "fail", "timeout" }, { found.verdict, found.measured })
        assert.matches("not done in time, while %l+", found.text)
        assert.equal("loading", checked(liar(("-LOADING Redis is loading the dataset in memory\r\n"):rep(2))).measured)
        local _, problem = step(liar("+HELLO\r\n"), "server:ping()")
        assert.matches("not with PONG", problem.message)
    end)

    it("is cancelled with its step", function()
        local _, problem = t.outcome(play(liar(nil), 'step("it", { timeout = "200ms" }, function() server:ping() end)'))
        assert.equal("timeout", problem.code)
    end)

    it("says what is wrong with a URL", function()
        local told = assert(step(server.url, [[
            local told = {}
            for i, url in ipairs { "redis://", "redis://h:99999", "redis://h/x", "redis://:a%zz@h", "http://x",
                "unix://relative" } do
                local _, problem = pcall(function() redis.server(url):ping() end)
                told[i] = problem.code .. " " .. problem.message
            end
            return told
        ]]))
        for i, why in ipairs { "names no host", "port in the URL is no number", "database in the URL is no number",
            "password in the URL has a broken %%%-escape", "begins with redis://", "begins with redis://" } do
            assert.matches("^usage .*" .. why, told[i])
        end
    end)
end)

describe("redis over TLS", function()
    local certificates

    setup(function()
        certificates = t.certificates()
    end)

    local function serve(name)
        return redis.start { tls = certificates[name], ca = certificates.ca, password = "s3same-open" }
    end

    local env = { PASSWORD = "s3same-open" }

    local function place(server, ca)
        return { url = ("%q"):format(server.url), ca = ca, password = 'secret "PASSWORD"' }
    end

    it("encrypts", function()
        local server = serve "good"
        server.command("SET", "big", ("x"):rep(100000))
        assert.equal(100000, step(place(server, certificates.ca), 'return #server:read("GET", "big")', env))
        local found = checked(place(server), nil, env)
        assert.same({ "fail", "tls" }, { found.verdict, found.measured })
        found = checked { url = ("%q"):format(server.url), ca = "/nowhere.pem" }
        assert.matches("authorities in /nowhere.pem cannot be read", found.text)
        -- spoken to in the clear, and the other way round
        found = checked((server.url:gsub("rediss", "redis")))
        assert.matches("if it wants TLS", found.text)
        local clear = redis.start()
        found = checked({ url = ("%q"):format((clear.url:gsub("redis", "rediss"))), ca = certificates.ca, timeout = "1s" })
        assert.is_true(found.measured == "tls" or found.measured == "timeout" or found.measured == "reset", found.measured)
    end)

    for name, why in pairs { expired = "expired", wrong_name = "mismatch", unknown = "unable to get local issuer" } do
        it("refuses a certificate: " .. name, function()
            local found = checked(place(serve(name), certificates.ca), nil, env)
            assert.same({ "fail", "tls" }, { found.verdict, found.measured })
            assert.matches(why, found.text)
        end)
    end
end)
