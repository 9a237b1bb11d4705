local t = require "spec.helper"
local ask = require "spec.world.ask"

-- An application behind a login: POST /login with the right form sets a cookie, /page wants it and shows it, /forget ends
-- all sessions.
local function application()
    local app = { logins = 0, seen = {}, valid = {} }
    local function reply(status, body, more)
        return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s"):format(status, #body, more or "", body)
    end
    local function answer(request)
        local method, path = request:match("^(%u+) (%S+)")
        local cookie = request:match("\r\n[Cc]ookie: [^\r]*sid=(%x+)")
        app.seen[#app.seen + 1] = method .. " " .. path
        if path == "/login" and request:find("user=joe&word=sesame-opens", 1, true) then
            app.logins = app.logins + 1
            local sid = ("%032x"):format(0x5e55000 + app.logins)
            app.valid[sid] = true
            return reply("302 Found", "",
                ("Set-Cookie: sid=%s; Path=/; HttpOnly\r\nSet-Cookie: lang=en\r\nLocation: /page\r\n"):format(sid))
        elseif path == "/forget" then
            app.valid = {}
            return reply("200 OK", "forgotten")
        elseif path == "/elsewhere" then
            return reply("302 Found", "", "Location: " .. app.other .. "/seen\r\n")
        elseif app.down and #app.seen > 2 then
            return reply("500 Oops", "")
        elseif not app.valid[cookie] then
            return reply("401 Unauthorized", "who are you?")
        end
        return reply("200 OK", "you are " .. cookie)
    end
    app.port = t.serve(function(client, bytes)
        if bytes then
            client:write(answer(bytes))
        end
    end)
    app.url = "http://127.0.0.1:" .. app.port
    return app
end

local LOGIN = [[
local app = http.session { url = U, login = function(s)
    s:post("/login", { form = { user = "joe", word = secret "WORD" }, expect = 302 })
end }
]]
local ENV = { WORD = "sesame-opens" }

describe("http.session", function()
    it("logs in once, when it is first used", function()
        local app = application()
        local answer = ask(LOGIN .. [[
            return { app:get("/page").status, app:get("/page").status, app:head("/page").status, app:check("/page").verdict,
                app:request("options", "/page").status,
                http.get(U .. "/page", { session = app }).status, http.get(U .. "/page").status }
        ]], { U = app.url }, { env = ENV })
        assert.is_nil(answer.error and answer.error.message)
        assert.same({ 200, 200, 200, "pass", 200, 200, 401 }, answer.value)
        assert.equal(1, app.logins)
        assert.equal("POST /login", app.seen[1])
    end)

    it("keeps its cookie secret", function()
        local app = application()
        local answer = ask(LOGIN .. [[ return { app:get("/page").body, app:post("/login",
            { form = { user = "joe", word = secret "WORD" } }).headers } ]], { U = app.url }, { env = ENV })
        assert.equal("you are ‹secret cookie sid›", answer.value[1])
        assert.is_nil(answer.value[2]["set-cookie"])
        assert.equal("", t.run({ "grep", "-rla", ("%032x"):format(0x5e55001), answer.run.folder }).out)
        assert.is_nil((answer.run.out .. answer.run.err):find("5e55", 1, true))
    end)

    it("logs in again where the server has forgotten it", function()
        local app = application()
        local answer = ask(LOGIN .. [[
            local first = app:get("/page").status
            http.get(U .. "/forget")
            return { first, app:get("/page").status }
        ]], { U = app.url }, { env = ENV })
        assert.same({ 200, 200 }, answer.value)
        assert.equal(2, app.logins)
    end)

    it("says that a login failed, once", function()
        local app = application()
        local answer = ask(LOGIN .. [[ return app:get "/page" ]], { U = app.url }, { env = { WORD = "sesame-shuts" } })
        assert.equal("status", answer.error.code)
        assert.matches("POST .*/login answered 401, expected 302", answer.error.message)
        assert.same({ "POST /login" }, app.seen)
    end)

    it("works without a login", function()
        local app = application()
        local answer = ask([[
            local app = http.session { url = U .. "/", headers = { ["X-A"] = "1" }, redirects = 1 }
            app:post("/login", { form = { user = "joe", word = secret "WORD" }, redirects = 0 })
            return app:get("/page", { headers = { ["X-B"] = "2" } }).status
        ]], { U = app.url }, { env = ENV })
        assert.equal(200, answer.value, answer.error and answer.error.message)
    end)

    it("gives its cookies to no other host", function()
        local app, seen = application(), nil
        local port = t.serve(function(client, bytes)
            if bytes then
                seen = bytes
                client:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
            end
        end)
        app.other = "http://localhost:" .. port
        local answer = ask(LOGIN .. [[ app:get "/page" return app:get("/elsewhere", { redirects = 1 }).body ]], { U = app.url },
            { env = ENV })
        assert.equal("other", answer.value)
        assert.is_nil(seen:lower():find("cookie", 1, true))
    end)

    it("logs in anew in the process that resumes the run", function()
        local app = application()
        local path, folder = t.playbook(([[
            playbook "session" { environments = { "test" } }
            local http = require "rollout.http"
            local U = %q
        ]]):format(app.url) .. LOGIN .. [[
            step("first", function() return app:get("/page").status end)
            gate("second", function() return app:check "/page" end)
        ]])
        local options = { state = folder .. "/state", cwd = folder, env = ENV }
        app.down = true
        local first = t.host { path, state = options.state, cwd = folder, env = ENV }
        assert.equal(1, first.code, first.err .. first.out)
        app.down = false
        local resumed = t.host { "resume", state = options.state, cwd = folder, env = ENV }
        assert.equal(0, resumed.code, resumed.err .. resumed.out)
        assert.equal(2, app.logins)
    end)

    it("refuses what it cannot mean", function()
        for body, part in pairs {
            ["http.session {}"] = "url is missing",
            ["http.session { url = U, logn = 1 }"] = 'did you mean "login"',
            ['http.session { url = U }:get "page"'] = "a path below the session's URL",
            ['http.session { url = U }:gett "/page"'] = "has no",
            ['http.get(U, { session = {} })'] = "session is what http.session returned",
        } do
            local answer = ask(body, { U = "http://127.0.0.1:1" })
            assert.is_truthy(answer.error and answer.error.message:find(part, 1, true), body .. ": "
                .. tostring(answer.error and answer.error.message))
        end
    end)
end)
