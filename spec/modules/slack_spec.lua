local t = require "spec.helper"
local json = require "dkjson"

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
