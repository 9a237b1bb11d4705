-- The token of a login is not kept, so a resumed step logs in again; what it had done with the old token was not done with
-- the new one, and a session that was seen logged out was there again.
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local PLAYBOOK = [[
local http = require "rollout.http"
playbook "demo" { environments = { "staging" }, inputs = { url = { type = "string" } } }
local url = run.inputs.url
return step("log in and out", function()
    local token = http.post(url .. "/login", { secret = "json.token", idempotent = true })
    local before = http.get(url .. "/session", { bearer = token }).status
    local item = http.post(url .. "/item", { bearer = token, idempotent = true }).json.id
    http.patch(url .. "/item/" .. item, { bearer = token, idempotent = true, expect = 200 })
    http.post(url .. "/logout", { bearer = token, idempotent = true })
    local once = http.post(url .. "/once", { expect = 200 }).status
    return { before, once, http.get(url .. "/session", { bearer = token }).status }
end)
]]

describe("a step that was interrupted after a login", function()
    it("sees one session, and repeats nothing unsafe", function()
        local sessions, logins, onces, items = {}, 0, 0, 0
        local port = t.serve(function(client, bytes)
            local what = bytes and bytes:match "^%u+ /(%l+)"
            if not what then return end
            local token = bytes:match "[Bb]earer (%S+)"
            local status, body = 200, "{}"
            if what == "login" then
                logins = logins + 1
                token = ("token-number-%d"):format(logins)
                sessions[token] = true
                body = ('{"token":"%s"}'):format(token)
            elseif what == "item" and sessions[token] then
                items = items + 1
                body = ('{"id":%d}'):format(items)
            elseif what == "logout" then
                sessions[token] = nil
            elseif what == "once" then
                onces = onces + 1
            elseif not sessions[token] then
                status = 401
            end
            client:write(("HTTP/1.1 %d X\r\nContent-Length: %d\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n%s")
                :format(status, #body, body), function() client:close() end)
        end)
        local path, folder = t.playbook(PLAYBOOK, "demo")
        local run = chain.new { start = { path, "--output", "json", "--set", "url=http://127.0.0.1:" .. port }, cwd = folder,
            state = folder .. "/state", doubt = function(doubt)
                assert.matches("/once", doubt.payload.describe)
                return onces > 0 and { "--done", "--reason", "it was received", "--result", '{"status":200}' } or { "--retry" }
            end }
        assert(run:run(100) == 0, run.said:sub(-3000))
        assert.equal(1, onces)
        local ended
        for _, event in ipairs(run:events()) do
            ended = event.type == "step.end" and event.payload or ended
        end
        assert.same({ 200, 200, 401 }, ended.value)
    end)
end)
