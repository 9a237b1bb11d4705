local t = require "spec.helper"
local json = require "dkjson"
local plays = require "spec.modules.service_play"
local slack = require "spec.world.slack"

-- A webhook's receiver: answers request n with what statuses[n], or its last one, says.
local function receiver(statuses)
    local messages, heard = {}, {}
    local port = t.serve(function(client, bytes)
        if not bytes then
            return
        end
        heard[client] = (heard[client] or "") .. bytes
        local head, body = heard[client]:match("^(.-)\r\n\r\n(.*)$")
        if not head or #body < tonumber(head:match("[Cc]ontent%-[Ll]ength: (%d+)")) then
            return
        end
        heard[client] = nil
        messages[#messages + 1] = { head = head, text = json.decode(body).text }
        client:write(("HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok"):format(statuses[#messages] or statuses[#statuses]))
    end)
    return "http://127.0.0.1:" .. port .. "/services/T0/s3cret-hook", messages
end

local function notify(hook, text)
    return t.play(([[
        playbook "talk" {
            environments = { "test" },
            notify = { team = require("rollout.slack").webhook(secret "HOOK") },
        }
        notify(%q)
    ]]):format(text), { env = { HOOK = hook } })
end

describe("slack.webhook", function()
    it("posts a message, signed, once", function()
        local hook, messages = receiver { "200 OK" }
        local run = notify(hook, "deployed v1.4.0")
        assert.equal(0, run.code, run.err)
        assert.equal(1, #messages)
        assert.matches("^POST /services/T0/s3cret%-hook HTTP", messages[1].head)
        assert.matches("[Cc]ontent%-[Tt]ype: application/json", messages[1].head)
        assert.matches("^deployed v1%.4%.0\n_talk · test · talk%-.*_$", messages[1].text)
    end)

    it("mentions nobody by accident, and is short", function()
        local hook, messages = receiver { "200 OK" }
        notify(hook, "<!channel> a & b " .. ("ä"):rep(4000))
        assert.equal("&lt;!channel&gt; a &amp; b ", messages[1].text:match("^(.-)ä"))
        assert.is_true(#messages[1].text < 3200)
        assert.is_truthy(utf8.len(messages[1].text))
    end)

    it("is sent again where Slack refused it for now, and only there", function()
        local hook, messages = receiver { "429 Too Many Requests", "200 OK" }
        notify(hook, "hello")
        assert.equal(2, #messages)
        hook, messages = receiver { "500 Oops" }
        notify(hook, "hello")
        assert.equal(1, #messages)
    end)

    it("keeps the URL to itself when it fails, and the run goes on", function()
        local hook, messages = receiver { "404 Not Found" }
        local run = notify(hook, "hello")
        assert.equal(0, run.code, run.err)
        assert.equal(1, #messages)
        assert.matches("answered 404, expected 200", run.out)
        assert.is_nil((run.out .. run.err):find("s3cret-hook", 1, true))
    end)
end)

describe("slack.webhook's mention", function()
    it("calls somebody, and only whom it names", function()
        local hook, messages = receiver { "200 OK" }
        t.play([[
            local slack = require "rollout.slack"
            playbook "talk" { environments = { "test" }, notify = { team = slack.webhook(secret "HOOK",
                { mention = { "here", "U012AB3CD", "S045EF6GH" } }) } }
            notify "<!channel> look"
        ]], { env = { HOOK = hook } })
        assert.matches("^<!here> <@U012AB3CD> <!subteam^S045EF6GH> &lt;!channel&gt; look\n", messages[1].text)
        local run = t.play [[require("rollout.slack").webhook("http://127.0.0.1:1", { mention = "everybody" })]]
        assert.matches("mention is", run.out .. run.err)
    end)
end)

describe("slack.channel", function()
    local service, play

    before_each(function()
        service = slack.start "s3same-bot-token"
        play = plays(([[
            local slack = require "rollout.slack"
            local deploys = slack.channel { token = secret "TOKEN", channel = "C012AB3CD", url = %q }
            playbook "spec" { environments = { "test" }, notify = { team = deploys:channel { mention = "here" } } }
        ]]):format(service.url), { TOKEN = "s3same-bot-token" })
    end)

    it("is one thread of a run's messages", function()
        local result = play.run 'notify "begins <now>" notify "goes on" notify "ends"'
        assert.equal(0, result.code, result.err)
        local first = service.messages[1]
        assert.matches("^<!here> begins &lt;now&gt;\nspec · test · spec%-", first.text)
        assert.is_nil(first.thread)
        assert.same({ first.ts, first.ts, 3 }, { service.messages[2].thread, service.messages[3].thread, #service.messages })
        play.hides(result, "s3same-bot-token")
    end)

    it("says something, and something else later", function()
        local value = assert(play.step [[
            local message = deploys:post "deploying"
            deploys:post("still", { thread = message, mention = "U012AB3CD" })
            return deploys:update(message, "deployed")
        ]])
        assert.equal("1700000001.000100", value.ts)
        assert.same({ "deployed", "<@U012AB3CD> still" }, { service.messages[1].text, service.messages[2].text })
        assert.equal(value.ts, service.messages[2].thread)
    end)

    it("finds the message of a killed run, where it may look", function()
        local function posts(request) return request.method == "POST" end
        local result = play.killed(service, posts, 'deploys:post "once"')
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(1, #service.messages)
        assert.is_truthy(play.lost(service, posts, 'deploys:post "answered by a proxy"').ts)
        assert.equal(2, #service.messages)
        service.history = false
        result = play.killed(service, posts, 'deploys:post "who knows"')
        assert.equal(7, result.code, result.out .. result.err)
        assert.equal(3, #service.messages)
    end)

    it("says what is wrong", function()
        assert.matches("say in Slack C012AB3CD: hello", play.plan 'deploys:post "hello"')
        local told = assert(play.step(([[
            local told = {}
            for i, one in ipairs { { token = secret_wrong, channel = "C012AB3CD" }, { token = "x", channel = "#private" } } do
                one.url = %q
                local _, problem = pcall(function() slack.channel(one):post "x" end)
                told[i] = problem.code .. " " .. problem.message
            end
            return told
        ]]):format(service.url):gsub("secret_wrong", '"s3same-other"')))
        assert.matches("^access_denied Slack, chat.postMessage: invalid_auth %(the token is not valid%)", told[1])
        service.fail(200, { ok = false, error = "channel_not_found" })
        local _, problem = play.step 'deploys:post "x"'
        assert.same({ "refused", true }, { problem.code, problem.message:find("has to be given by its id", 1, true) ~= nil })
        service.fail(200, "<html>")
        _, problem = play.step 'deploys:post "x"'
        assert.equal("protocol", problem.code)
    end)
end)
