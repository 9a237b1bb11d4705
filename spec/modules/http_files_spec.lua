local t = require "spec.helper"
local ask = require "spec.world.ask"

-- What is sent and received by way of files. `run` gives the folder that the playbook works in.
local function value(body, vars, options)
    local answer = ask(body, vars, options)
    assert.is_nil(answer.error and answer.error.message)
    return answer.value, answer.run
end

local function problem(body, vars, options)
    local answer = ask(body, vars, options)
    assert.is_truthy(answer.error, "no error")
    return answer.error, answer.run
end

-- A server that says `answer` to whatever comes, and then closes; `seen` is all that came.
local function canned(answer, reset)
    local server = { seen = "" }
    server.port = t.serve(function(client, bytes)
        if bytes then
            server.seen = server.seen .. bytes
            if answer then
                client:write(answer, function()
                    if reset then
                        client:close_reset()
                    end
                end)
                answer = nil
            end
        end
    end)
    server.url = "http://127.0.0.1:" .. server.port .. "/"
    return server
end

local function names(folder)
    local list = {}
    for name in t.run({ "ls", "-A", folder }).out:gmatch("[^\n]+") do
        if name ~= "state" and name ~= "playbook.lua" then
            list[#list + 1] = name
        end
    end
    return list
end

describe("http.download", function()
    local server, U, sha256
    setup(function()
        server = t.nginx { http = "server { listen 127.0.0.1:$port1; root $folder; gzip on; gzip_types text/plain; }" }
        U = "http://127.0.0.1:" .. server.ports[1]
        t.write(server.folder .. "/text.txt", ("all work and no play\n"):rep(100000))
        t.write(server.folder .. "/empty", "")
        sha256 = t.run({ "sha256sum", server.folder .. "/text.txt" }).out:match("^%x+")
    end)

    it("writes a file, byte for byte, and tells its digest", function()
        local r, run = value([[ return http.download(U .. "/text.txt", { to = "t", mode = "0600" }) ]], { U = U })
        assert.same({ 200, "t", 2100000, sha256 }, { r.status, r.path, r.bytes, r.sha256 })
        assert.equal(t.read(server.folder .. "/text.txt"), t.read(run.folder .. "/t"))
        assert.equal("600", t.run({ "stat", "-c", "%a", run.folder .. "/t" }).out:match("%d+"))
        assert.same({ "t" }, names(run.folder))
    end)

    it("takes the place of a file, of its mode, and of a link's target", function()
        local folder = t.temp()
        t.write(folder .. "/real", "old")
        assert.equal(0, t.run({ "sh", "-c", "chmod 640 real && ln -s real link", cwd = folder }).code)
        value([[ http.download(U .. "/empty", { to = "link" }) ]], { U = U }, { folder = folder })
        assert.equal("", t.read(folder .. "/real"))
        assert.equal("640", t.run({ "stat", "-c", "%a", folder .. "/real" }).out:match("%d+"))
        assert.same({ "link", "real" }, names(folder))
    end)

    it("keeps nothing that has another digest", function()
        local err, run = problem([[ http.download(U .. "/text.txt", { to = "t", sha256 = ("ab"):rep(32) }) ]], { U = U })
        assert.equal("checksum", err.code)
        assert.matches("has the SHA%-256 " .. sha256 .. ", not ababab", err.message)
        assert.same({}, names(run.folder))
        local r = value([[ return http.download(U .. "/text.txt", { to = "t", sha256 = D }) ]], { U = U, D = sha256:upper() })
        assert.equal(sha256, r.sha256)
    end)

    it("keeps nothing of an error's text", function()
        local err, run = problem([[ http.download(U .. "/nothing", { to = "t" }) ]], { U = U })
        assert.equal("status", err.code)
        assert.matches("answered 404, expected 200: 404 Not Found", err.message)
        assert.same({}, names(run.folder))
    end)

    it("keeps nothing of half a file, and takes another one when told", function()
        local half = canned("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", true)
        local err, run = problem([[ http.download(U, { to = "t" }) ]], { U = half.url })
        assert.equal("reset", err.code)
        assert.same({}, names(run.folder))
        local number = 0
        local port = t.serve(function(client, bytes)
            if bytes then
                number = number + 1
                client:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" .. (number == 1 and "ha" or "whole"),
                    number == 1 and function() client:close_reset() end or nil)
            end
        end)
        local r = value([[ return http.download(U, { to = "t", retry = { backoff = "10ms" } }) ]],
            { U = "http://127.0.0.1:" .. port })
        assert.equal(5, r.bytes)
    end)

    it("ends where not a byte moves", function()
        local still = canned("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
        local err, run = problem([[ http.download(U, { to = "t", stall = "1s" }) ]], { U = still.url })
        assert.equal("timeout", err.code)
        assert.same({}, names(run.folder))
    end)

    it("says that it cannot write there, before it asks", function()
        local other = canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        local err = problem([[ http.download(U, { to = "no/such/folder" }) ]], { U = other.url })
        assert.equal("io", err.code)
        assert.matches("cannot write no/such/folder: No such file or directory", err.message)
        assert.equal("", other.seen)
        err = problem([[ http.download(U, { to = "/dev/full" }) ]], { U = U })
        assert.matches("it is not a regular file", err.message)
    end)

    it("hashes without keeping", function()
        local r, run = value([[ return http.sha256(U .. "/text.txt") ]], { U = U })
        assert.same({ 200, 2100000, sha256 }, { r.status, r.bytes, r.sha256 })
        assert.same({}, names(run.folder))
    end)

    it("takes a gibibyte with little memory", function()
        local big = assert(io.open(server.folder .. "/big", "wb"))
        big:seek("set", (1 << 30) - 1)
        big:write("x")
        big:close()
        local r = value([[
            local fs = require "rollout.fs"
            local got = http.sha256(U .. "/big")
            return { got.bytes, fs.read("/proc/self/status"):match "VmHWM:%s*(%d+)" }
        ]], { U = U })
        assert.equal(1 << 30, r[1])
        assert.is_true(tonumber(r[2]) < 96 * 1024, "peak " .. r[2] .. " KiB")
    end)

    it("tells how far it is", function()
        local slow = t.nginx { http = "server { listen 127.0.0.1:$port1; root $folder; limit_rate 2m; }" }
        t.write(slow.folder .. "/f", ("x"):rep(2000000))
        local _, run = value([[ http.download(U .. "/f", { to = "t" }) http.sha256(U .. "/f") ]],
            { U = "http://127.0.0.1:" .. slow.ports[1] })
        local told = {}
        for _, event in ipairs(run.events) do
            if event.type == "progress" then
                assert.same({ "ask", 2000000, "bytes" }, { event.key, event.payload.total, event.payload.unit })
                told[#told + 1] = event.payload.done
            end
        end
        assert.is_true(#told >= 4, #told .. " were told")
        assert.is_true(told[1] > 0 and told[2] > told[1] and told[#told] <= 2000000)
    end)

    it("leaves nothing behind when its step ends it", function()
        local still = canned("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" .. ("x"):rep(1000000))
        local folder = t.temp()
        local run = t.play(([[
            playbook "late" { environments = { "test" } }
            local http = require "rollout.http"
            step("get", { timeout = "500ms" }, function() return http.download(%q, { to = "t" }) end)
        ]]):format(still.url), { folder = folder })
        assert.equal(1, run.code)
        assert.matches('"code":"timeout"', run.out)
        assert.same({}, names(folder))
    end)
end)

describe("a file that is sent", function()
    it("goes as it is, with its digest told", function()
        local server = t.nginx { http = [[server { listen 127.0.0.1:$port1; root $folder/up; client_max_body_size 0;
            dav_methods PUT; location / { } }]] }
        t.run { "mkdir", server.folder .. "/up" }
        local folder = t.temp()
        t.write(folder .. "/f", ("0123456789abcdef"):rep(200000))
        local r = value([[
            local fs = require "rollout.fs"
            local all = http.put(U .. "/all", { file = "f" })
            local part = http.put(U .. "/part", { file = { path = "f", offset = 16, size = 5 } })
            return { status = all.status, all = all.sent, part = part.sent, is = fs.sha256 "f" }
        ]], { U = "http://127.0.0.1:" .. server.ports[1] }, { folder = folder })
        if r.status == 405 then
            return pending("this nginx has no dav module")
        end
        assert.same({ bytes = 3200000, sha256 = r.is }, r.all)
        assert.equal(5, r.part.bytes)
        assert.equal(t.read(folder .. "/f"), t.read(server.folder .. "/up/all"))
        assert.equal("01234", t.read(server.folder .. "/up/part"))
    end)

    it("goes and comes over HTTP/2 as well", function()
        local certificates = t.certificates()
        local server = t.nginx { http = ([[server { listen 127.0.0.1:$port1 ssl http2; ssl_certificate %s; ssl_certificate_key %s;
            root $folder/up; client_max_body_size 0; dav_methods PUT; location / { } }]]):format(certificates.good.cert,
            certificates.good.key) }
        t.run { "mkdir", server.folder .. "/up" }
        local folder = t.temp()
        assert.equal(0, t.run({ cwd = folder, "sh", "-c",
            "head -c 60000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 > f" }).code)
        local r = value([[
            local fs = require "rollout.fs"
            local put = http.put(U .. "/f", { file = "f", ca = CA, expect = 201 })
            local got = http.download(U .. "/f", { to = "g", ca = CA })
            local form = http.post(U .. "/none", { multipart = { f = { file = "f" } }, ca = CA })
            return { is = fs.sha256 "f", sent = put.sent.sha256, got = got.sha256, form = form.status }
        ]], { U = "https://127.0.0.1:" .. server.ports[1], CA = certificates.ca }, { folder = folder })
        assert.same({ is = r.is, sent = r.is, got = r.is, form = 404 }, r)
        assert.matches("HTTP/2.0", server.access())
    end)

    it("is refused in the middle, and the refusal is the result", function()
        local server = t.nginx { http = "server { listen 127.0.0.1:$port1; client_max_body_size 1m; location / { return 204; } }" }
        local folder = t.temp()
        t.write(folder .. "/f", ("x"):rep(20000000))
        assert.same({ 413, 413 }, value([[
            local put = http.put(U, { file = "f" })
            return { put.status, put.sent or http.post(U, { multipart = { f = { file = "f" } } }).status }
        ]], { U = "http://127.0.0.1:" .. server.ports[1] },
            { folder = folder }))
    end)

    it("is a form's part, beside texts and secrets", function()
        local folder = t.temp()
        t.write(folder .. "/a b.txt", "the file's text")
        t.write(folder .. "/empty", "")
        local server = canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        local _, run = value([[ http.post(U, { multipart = { title = "Ä", word = secret "WORD", n = 5,
            report = { file = "a b.txt", type = "text/x-report" }, empty = { file = "empty", filename = "none" } } }) ]],
            { U = server.url }, { folder = folder, env = { WORD = "sesame-opens" } })
        t.eventually("the form", function() return server.seen:find("sesame%-opens") end)
        assert.is_nil((run.out .. run.err):find("sesame-opens", 1, true))
        assert.equal("", t.run({ "grep", "-rla", "sesame-opens", run.state }).out)
        assert.matches("Content%-Type: multipart/form%-data; boundary=", server.seen)
        assert.matches('name="title"\r\n\r\nÄ\r\n', server.seen)
        assert.matches('name="n"\r\n\r\n5\r\n', server.seen)
        assert.matches('name="report"; filename="a b.txt"\r\nContent%-Type: text/x%-report\r\n\r\nthe file\'s text\r\n',
            server.seen)
        assert.matches('name="empty"; filename="none"\r\n\r\n\r\n', server.seen)
    end)

    it("is not there, or no file, or no longer as large", function()
        local vars = { U = "http://127.0.0.1:1" }
        local err = problem([[ http.put(U, { file = "missing" }) ]], vars)
        assert.equal("io", err.code)
        assert.matches("cannot read missing: No such file", err.message)
        assert.matches("not a regular file", problem([[ http.put(U, { file = "/dev/zero" }) ]], vars).message)
        err = problem([[ http.put(U, { file = { path = "/proc/self/status", offset = 10, size = 50 } }) ]], vars)
        assert.equal("changed", err.code)
        err = problem([[ http.post(U, { multipart = { f = { file = "missing" } } }) ]], vars)
        assert.matches("cannot read missing", err.message)
    end)

    it("goes to no other host by a redirect", function()
        local folder = t.temp()
        t.write(folder .. "/f", "text")
        local server = canned("HTTP/1.1 307 Elsewhere\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n")
        local err = problem([[ http.put(U, { file = "f", redirects = 1 }) ]], { U = server.url }, { folder = folder })
        assert.equal("redirect", err.code)
        assert.matches("would get the request's body", err.message)
    end)

    it("is refused where it has no meaning", function()
        for body, part in pairs {
            ['http.put(U, { file = "f", body = "x" })'] = "body and file exclude each other",
            ['http.put(U, { file = { offset = 1 } })'] = "path is missing",
            ['http.put(U, { file = { path = "f", offset = -1 } })'] = "not negative",
            ['http.post(U, { multipart = {} })'] = "multipart is empty",
            ['http.post(U, { multipart = { a = { file = "f", text = "x" } } })'] = "a text or a file",
            ['http.download(U, {})'] = "to is missing",
            ['http.download(U, { to = "t", sha256 = "xyz" })'] = "64 hexadecimal digits",
            ['http.get(U, { aws = { access_key = "a" } })'] = "is missing",
            ['http.get(U, { bearer = "a", aws = {} })'] = "exclude each other",
        } do
            local message = problem(body, { U = "http://127.0.0.1:1" }).message
            assert.is_truthy(message:find(part, 1, true), body .. ": " .. message)
        end
    end)
end)

describe("public_only", function()
    it("does not connect to a private address, whatever it is called", function()
        local server = canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        for _, host in ipairs { "127.0.0.1", "localhost", "[::1]", "0x7f000001", "127.1" } do
            local url = ("http://%s:%d/"):format(host, server.port)
            local err = problem([[ http.get(U, { public_only = true, timeout = "5s" }) ]], { U = url })
            assert.equal("private_address", err.code, url)
            assert.matches("which is no public address; not connected", err.message)
        end
        local e = value([[ local e = http.check(U, { public_only = true }) return { e.verdict, e.measured } ]], { U = server.url })
        assert.same({ "fail", "no answer: private_address" }, e)
        assert.equal("", server.seen)
        assert.equal("ok", value([[ return http.get(U).body ]], { U = server.url }))
    end)

    it("is not fooled by a kept connection", function()
        local server = t.nginx { http = 'server { listen 127.0.0.1:$port1; location / { return 200 "ok"; } }' }
        local err = problem([[ http.get(U) http.get(U, { public_only = true }) ]], { U = "http://127.0.0.1:" .. server.ports[1] })
        assert.equal("private_address", err.code)
    end)

    it("cannot be promised behind a proxy", function()
        assert.matches("public_only", problem([[ http.get(U, { public_only = true, proxy = "http://p:1" }) ]],
            { U = "http://127.0.0.1:1" }).message)
    end)
end)
