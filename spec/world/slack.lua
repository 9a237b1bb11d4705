-- A Slack channel as far as a rollout talks to it, in the shapes of
--   https://api.slack.com/methods/chat.postMessage, chat.update, conversations.history
local stand_in = require "spec.world.stand_in"

local M = {}

--- → the stand-in, with messages (the oldest first), history = false (the app may not read)
function M.start(token)
    local self
    local messages = {}

    local function by_ts(ts)
        for _, message in ipairs(messages) do
            if message.ts == ts then
                return message
            end
        end
    end

    local methods = {
        ["chat.postMessage"] = function(given)
            if given.channel ~= "C012AB3CD" then
                return { ok = false, error = "channel_not_found" }
            end
            local message = { ts = ("17000000%02d.000100"):format(#messages + 1), text = given.text, thread = given.thread_ts,
                metadata = given.metadata }
            messages[#messages + 1] = message
            return { ok = true, channel = given.channel, ts = message.ts, message = message }
        end,
        ["chat.update"] = function(given)
            local message = by_ts(given.ts)
            if not message then
                return { ok = false, error = "message_not_found" }
            end
            message.text = given.text
            return { ok = true, channel = given.channel, ts = given.ts, text = given.text }
        end,
        ["conversations.history"] = function()
            if not self.history then
                return { ok = false, error = "missing_scope" }
            end
            local list = setmetatable({}, { __jsontype = "array" })
            for _, message in ipairs(messages) do
                list[#list + 1] = not message.thread and message or nil
            end
            return { ok = true, messages = list, has_more = false }
        end,
    }

    self = stand_in.start(function(request)
        if request.headers.authorization ~= "Bearer " .. token then
            return 200, { ok = false, error = "invalid_auth" }
        end
        return 200, methods[request.path:match "^/api/(.*)$"](request.json or request.query)
    end)
    self.messages, self.history = messages, true
    return self
end

return M
