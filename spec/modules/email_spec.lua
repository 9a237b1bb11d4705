local t = require "spec.helper"
local mail = require "spec.world.mail"

local ENV = { MAIL_PASSWORD = "s3same-mail", TOKEN = "s3same-token", WRONG = "s3same-wrong" }

local function play(options, text)
    return t.play(([[
        local email = require "rollout.email"
        local server = email.server { from = "Röllouts <ops@shop.example>", %s }
        playbook "spec" { environments = { "test" }, notify = { team = server:channel("a@x.example", "B <b@x.example>") } }
        %s
    ]]):format(options, text), { env = ENV })
end

local function step(options, text)
    return t.outcome(play(options, ('return step("it", function() %s end)'):format(text)))
end

local HELLO = 'return server:send { to = "a@x.example", subject = "hello", text = "hello" }'

describe("email, without TLS", function()
    local server, options

    setup(function()
        server = mail.start "plain"
        options = ('url = %q, tls = "none"'):format(server.url)
    end)

    it("sends to several, in any language", function()
        local before = #server.messages()
        local value = assert(step(options, [[
            return server:send { to = { "Dana Ä <dana@x.example>", '"Lee, Kim" <lee@x.example>' }, cc = "c@x.example",
                bcc = { "hidden@x.example", "dana@x.example" }, reply_to = "team@shop.example",
                subject = ("Größe ✓ "):rep(20) .. "\nX-Evil: yes", text = "Grüße,\n.\n.dot\nlong " .. ("x"):rep(2000) .. "\n✓",
                html = "<p>Grüße</p>" }
        ]]))
        assert.matches("250 2.0.0 Ok: queued as 4D1", value.said)
        assert.same({ "dana@x.example", "lee@x.example", "c@x.example", "hidden@x.example" }, value.to)
        local message = server.messages()[before + 1]
        assert.same(value.to, message.to)
        assert.equal("ops@shop.example", message.from)
        assert.equal(("Größe ✓ "):rep(20) .. "X-Evil: yes", (message.headers.subject))
        assert.is_nil(message.headers["x-evil"])
        assert.equal("Röllouts <ops@shop.example>", message.headers.from)
        assert.matches('Dana Ä <dana@x.example>, "Lee, Kim" <lee@x.example>', message.headers.to)
        assert.equal("c@x.example", message.headers.cc)
        assert.is_nil(message.raw:find("hidden@", 1, true))
        assert.equal("Grüße,\n.\n.dot\nlong " .. ("x"):rep(2000) .. "\n✓", (message.parts.plain:gsub("\r\n", "\n")))
        assert.matches("<p>Grüße</p>", message.parts.html)
        assert.matches("^%a%a%a, %d+ %a%a%a %d%d%d%d [%d:]+ %+0000$", message.headers.date)
        assert.equal("<" .. value.id .. ">", message.headers["message-id"])
        assert.equal("auto-generated", message.headers["auto-submitted"])
        for line in message.raw:gmatch "[^\r\n]+" do
            assert.is_true(#line <= 200, line)
        end
    end)

    it("is a channel for notify", function()
        local before = #server.messages()
        local run = play(options, 'notify("deployed v1.4.0\\nall well")')
        assert.equal(0, run.code, run.err)
        local message = server.messages()[before + 1]
        assert.same({ "a@x.example", "b@x.example" }, message.to)
        assert.equal("[spec test] deployed v1.4.0", message.headers.subject)
        assert.matches("^deployed v1.4.0\r?\nall well\r?\n\r?\n%-%- \r?\nspec, test, run spec%-", message.parts.plain)
    end)

    it("goes to all or to none", function()
        local before = #server.messages()
        local _, problem = step(options,
            'server:send { to = { "a@x.example", "nobody@x.example" }, subject = "x", text = "x" }')
        assert.equal("refused", problem.code)
        assert.matches("mail by 127.0.0.1:%d+: .*550 5.1.1 no such mailbox", problem.message)
        assert.equal(before, #server.messages())
    end)

    it("is tried again where it was refused for now, and not where it may have been taken", function()
        local before = #server.messages()
        assert(step(options, 'return server:send { to = "later@x.example", subject = "x", text = "x" }'))
        assert.equal(before + 1, #server.messages())
        local _, problem = step(options, 'server:send { to = "hangup@x.example", subject = "x", text = "x" }')
        assert.equal("reset", problem.code)
        assert.matches("whether the message was taken is not known", problem.message)
    end)

    it("is in doubt where the host died meanwhile", function()
        local heard
        local port = t.serve(function(client, bytes)
            heard = heard or (bytes or ""):find "EHLO" ~= nil
            client:write(bytes and "" or "220 here\r\n")
        end)
        local path, folder = t.playbook(([[
            local email = require "rollout.email"
            playbook "spec" { environments = { "test" } }
            local server = email.server { url = "smtp://127.0.0.1:%d", tls = "none", from = "a@x.example" }
            step("it", function() server:send { to = "b@x.example", subject = "x", text = "x" } end)
        ]]):format(port))
        local run = t.start_host { path, cwd = folder, state = folder .. "/state" }
        t.eventually("EHLO", function() return heard end, 20)
        run:kill "sigkill"
        run:wait()
        local result = t.host { "resume", cwd = folder, state = folder .. "/state" }
        assert.equal(7, result.code, result.out .. result.err)
        assert.matches('mail "x" to b@x.example', result.out .. result.err)
    end)

    it("never sends what is secret", function()
        local before = #server.messages()
        assert(step(options .. ', timeout = "20s"', [[
            local sh = require "rollout.sh"
            local found = sh.read({ "sh", "-c", "printf %s \"$P\"" }, { env = { P = secret "MAIL_PASSWORD" } }).out
            return server:send { to = "a@x.example", subject = found, text = "s3same" .. "-mail" }
        ]]))
        assert.is_nil(server.messages()[before + 1].raw:find("s3same-mail", 1, true))
        assert.is_nil(server.messages()[before + 1].parts.plain:find("s3same-mail", 1, true))
    end)

    it("says what it would send in a plan", function()
        local path, folder = t.playbook(([[
            local email = require "rollout.email"
            playbook "spec" { environments = { "test" } }
            step("tell", function()
                local server = email.server { %s, from = "a@x.example" }
                server:send { to = "b@x.example", subject = "hi\nthere", text = "x" }
                local found = require "rollout.sh".read { "cat", "addresses" }
                server:send { to = found.out, subject = "you", text = found.out }
            end)
        ]]):format(options))
        local before = #server.messages()
        local result = t.host { "plan", path, cwd = folder, state = folder .. "/state" }
        assert.equal(0, result.code, result.err)
        assert.matches('mail "hi there" to b@x.example by 127.0.0.1', result.out)
        assert.equal(before, #server.messages())
    end)

    it("refuses what cannot be sent", function()
        local told = assert(step(options, [[
            local told = {}
            local function try(fn) local _, problem = pcall(fn) told[#told + 1] = problem.message end
            for _, message in ipairs { { to = "a", subject = "x", text = "x" }, { to = {}, subject = "x", text = "x" },
                { to = "a@x\r\nRCPT TO:<b@x>", subject = "x", text = "x" } } do
                try(function() server:send(message) end)
            end
            for _, options in ipairs { { url = "http://x", from = "a@x" }, { url = "smtp://x", from = "a" },
                { url = "smtp://x", from = "a@x", password = "secret" },
                { url = "smtp://x", from = "a@x", user = "u", password = "secret", tls = "none" } } do
                try(function() email.server(options) end)
            end
            return told
        ]]))
        for i, why in ipairs { "no address such as", "nobody would get it", "no address such as", "smtp://host:587",
            "no address such as", "goes with user", "could read the password" } do
            assert.matches(why, told[i])
        end
    end)
end)

describe("email over TLS", function()
    local certificates, starttls, smtps

    setup(function()
        certificates = t.certificates()
        starttls, smtps = mail.start("starttls", certificates.good), mail.start("smtps", certificates.good)
    end)

    local function options(server, more)
        return ('url = %q, ca = %q, %s'):format(server.url, certificates.ca,
            more or "user = 'ops', password = secret 'MAIL_PASSWORD'")
    end

    it("logs in by STARTTLS and by smtps, and keeps the password to itself", function()
        for _, server in ipairs { starttls, smtps } do
            local result = play(options(server), ('step("it", function() %s end)'):format(HELLO))
            assert.equal(0, result.code, result.out)
            assert.is_nil((result.out .. result.err):find("s3same", 1, true))
            assert.equal(1, t.run { "grep", "-rqa", "s3same-mail", result.state }.code)
            local message = server.messages()[1]
            assert.equal("ops", message.login)
            assert.is_true(message.tls)
        end
    end)

    it("logs in by a token", function()
        assert(step(options(starttls, "user = 'ops', bearer = secret 'TOKEN'"), HELLO))
        local messages = starttls.messages()
        assert.equal("ops by token", messages[#messages].login)
        local _, problem = step(options(starttls, "user = 'ops', bearer = secret 'WRONG'"), HELLO)
        assert.equal("access_denied", problem.code)
    end)

    it("says when the password is wrong, or missing", function()
        local _, problem = step(options(starttls, "user = 'ops', password = secret 'WRONG'"), HELLO)
        assert.equal("access_denied", problem.code)
        assert.matches("are user and password right", problem.message)
        _, problem = step(options(starttls, ""), HELLO)
        assert.equal("refused", problem.code)
        assert.matches("530", problem.message)
    end)

    it("demands TLS", function()
        local _, problem = step(("url = %q"):format(mail.start("plain").url), HELLO)
        assert.equal("tls", problem.code)
        assert.matches("it offers no TLS", problem.message)
    end)

    for name, why in pairs { expired = "expired", wrong_name = "elsewhere", unknown = "issuer" } do
        it("refuses a certificate: " .. name, function()
            local server = mail.start("starttls", certificates[name])
            local _, problem = step(options(server), HELLO)
            assert.equal("tls", problem.code)
            assert.matches(why, problem.message)
            assert.equal(0, #server.messages())
        end)
    end

    it("says that nobody is there, or nobody answers", function()
        local _, problem = step("url = 'smtp://127.0.0.1:1'", HELLO)
        assert.equal("connect", problem.code)
        assert.matches("is a mail server listening there", problem.message)
        local port = t.serve(function() end)
        _, problem = step(("url = 'smtp://127.0.0.1:%d', timeout = '300ms'"):format(port), HELLO)
        assert.equal("timeout", problem.code)
    end)
end)
