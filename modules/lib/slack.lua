-- slack: messages to a Slack channel, or to anything that takes Slack's incoming webhooks (Mattermost, Rocket.Chat).
local http = require "rollout.http"

local slack = {}

-- Slack's limit for a message's text is 40,000 characters; an operator reads the first few lines.
local LONGEST = 3000

-- Text that a playbook or an error gives must not become a mention of everyone, or a link.
local function escaped(text)
    return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function shortened(text)
    if #text <= LONGEST then
        return text
    end
    return text:sub(1, utf8.offset(text, 0, LONGEST) - 1) .. " …"
end

-- Below the text: which playbook, where, and which run, since a channel hears of several.
local function signed(text, run)
    return run and ("%s\n_%s · %s · %s_"):format(text, run.playbook, run.environment, run.id) or text
end

--- A channel for `notify`: a function that posts { text = …, run = … } to the incoming webhook at `url`, which is a
--- secret, since whoever has it can post. A message that Slack surely did not take (no connection, "too many
--- requests") is sent again, up to five times; no message is sent twice.
function slack.webhook(url)
    return function(message)
        local text = signed(escaped(shortened(message.text)), message.run)
        http.post(url, { json = { text = text }, expect = 200, timeout = "1m", retry = { times = 5, backoff = "1s" } })
    end
end

return slack
