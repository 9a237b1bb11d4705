-- slack: messages to a Slack channel, or to anything that takes Slack's incoming webhooks (Mattermost, Rocket.Chat).
local rt = select(2, ...)
local http = require "rollout.http"
local service = require "rollout.service"

local slack = {}

-- Slack's limit for a message's text is 40,000 characters; an operator reads the first few lines.
local LONGEST = 3000

-- Text that a playbook or an error gives must not become a mention of everyone, or a link.
local function escaped(text)
    return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- Below the text: which playbook, where, and which run, since a channel hears of several.
local function signed(text, run)
    return run and ("%s\n_%s · %s · %s_"):format(text, run.playbook, run.environment, run.id) or text
end

local GROUPS = { here = "<!here>", channel = "<!channel>" }

-- "U012AB3CD", "S012AB3CD" (a group of users), "here", "channel", or a list of those → who is called by the message, or ""
local function mention_of(given, call)
    local words = {}
    for _, who in ipairs(type(given) == "table" and given or { given }) do
        local word = GROUPS[who] or type(who) == "string" and (who:find "^[UW]%w+$" and "<@" .. who .. ">"
            or who:find "^S%w+$" and "<!subteam^" .. who .. ">")
        if not word then
            rt.raise("usage", ("%s: mention is \"here\", \"channel\", or the id of a user (U…) or a group (S…)"):format(call))
        end
        words[#words + 1] = word .. " "
    end
    return table.concat(words)
end

--- A channel for `notify`: a function that posts { text = …, run = … } to the incoming webhook at `url`, which is a
--- secret, since whoever has it can post. A message that Slack surely did not take (no connection, "too many
--- requests") is sent again, up to five times; no message is sent twice. { mention = "here" | "U…" | "S…" } calls somebody.
function slack.webhook(url, options)
    local given = rt.options(options or {}, { mention = "string|table" }, "slack.webhook")
    local mention = given.mention and mention_of(given.mention, "slack.webhook") or ""
    if type(url) ~= "string" and not rt.is_secret(url) then
        rt.raise("usage", 'slack.webhook: expects the webhook\'s URL, such as secret "SLACK_WEBHOOK_URL", not ' .. type(url))
    end
    return function(message)
        local text = mention .. signed(escaped(service.shortened(message.text, LONGEST)), message.run)
        http.post(url, { json = { text = text }, expect = 200, timeout = "1m", retry = { times = 5, backoff = "1s" } })
    end
end

-- ---- as an app, by a bot's token ----

local HINTS = {
    invalid_auth = "the token is not valid", not_authed = "the token is missing", token_revoked = "the token was revoked",
    account_inactive = "the token's app or user is gone", missing_scope = "the app needs the scope chat:write",
    channel_not_found = "a private channel has to be given by its id, and the app invited",
    not_in_channel = "invite the app: /invite @app", is_archived = "the channel is archived",
}
local DENIED = { invalid_auth = true, not_authed = true, token_revoked = true, account_inactive = true, missing_scope = true }

-- Slack answers 200 and says in the body whether it did.
local function ask(args, method, request)
    local what = "Slack, " .. method
    request.where, request.what, request.bearer, request.path = args.where, what, args.where.token, "/api/" .. method
    local told = service.ask(request)
    if told.ok == true then
        return told
    end
    local said = tostring(told.error or "it is no Slack")
    rt.raise(told.error and (DENIED[said] and "access_denied" or "refused") or "protocol", ("%s: %s%s"):format(what, said,
        HINTS[said] and " (" .. HINTS[said] .. ")" or ""))
end

local Channel = {}
local handle = rt.class("slack.channel", Channel, function(self)
    return "Slack " .. self.where.channel
end)

-- The run's first message there: the others are answers to it.
local function thread_of(args)
    for _, one in ipairs(rt.recorded "slack.post") do
        local result = one.result
        if type(result) == "table" and result.asked == args.where.channel and not result.thread then
            return result.ts
        end
    end
end

--- channel:post(text, { thread = true | message, mention }) → { ts, channel, thread, asked }: says it there. `thread`: below that
--- message; true: below the run's first.
Channel.post = service.probed {
    name = "slack.post",
    args = function(self, text, options)
        if type(text) ~= "string" and not rt.is_unknown(text) then
            rt.raise("usage", "channel:post: the first argument is the text")
        end
        local args = rt.options(options or {}, { thread = "any", mention = "string|table" }, "channel:post")
        args.where, args.text = self.where, text
        args.mention = args.mention and mention_of(args.mention, "channel:post") or ""
        return args
    end,
    describe = function(args)
        return ("say in Slack %s: %s"):format(args.where.channel, service.shortened(tostring(args.text), 200))
    end,
    call = function(args, ctx)
        local thread = args.thread == true and thread_of(args) or type(args.thread) == "table" and args.thread.ts or nil
        local told = ask(args, "chat.postMessage", { method = "POST", json = { channel = args.where.channel, thread_ts = thread,
            text = args.mention .. escaped(service.shortened(args.text, LONGEST)), unfurl_links = false,
            metadata = { event_type = "rollouthost", event_payload = { mark = service.mark(ctx) } } } })
        return { ts = told.ts, channel = told.channel, thread = thread, asked = args.where.channel }
    end,
    -- Needs the scope channels:history, and the channel's id; without them nobody can say.
    probe = function(args, ctx)
        local ok, told = pcall(ask, args, "conversations.history", { query = { channel = args.where.channel, limit = 100,
            include_all_metadata = "true", oldest = tostring(rt.now() // 1000 - 86400) } })
        for _, message in ipairs(ok and args.thread == nil and told.messages or {}) do
            local payload = type(message.metadata) == "table" and message.metadata.event_payload
            if type(payload) == "table" and payload.mark == service.mark(ctx) then
                return "done", { ts = message.ts, channel = args.where.channel, asked = args.where.channel }
            end
        end
        return ok and args.thread == nil and not told.has_more and "undone" or "unknown"
    end,
    sample = function(args)
        return { ts = rt.unknown "the message's time", channel = args.where.channel, asked = args.where.channel }
    end,
    exact = { "ts" },
}

--- channel:update(message, text): what post() said says something else from now on.
Channel.update = rt.effect {
    name = "slack.update",
    class = "idempotent",
    args = function(self, message, text)
        if type(message) ~= "table" or type(text) ~= "string" and not rt.is_unknown(text) then
            rt.raise("usage", "channel:update takes what post() returned, and the text")
        end
        return { where = self.where, channel = message.channel, ts = message.ts, text = text }
    end,
    describe = function(args)
        return ("say in Slack %s instead: %s"):format(args.where.channel, service.shortened(tostring(args.text), 200))
    end,
    call = function(args)
        ask(args, "chat.update", { method = "POST", idempotent = true, json = { channel = args.channel, ts = args.ts,
            text = escaped(service.shortened(args.text, LONGEST)) } })
        return { ts = args.ts, channel = args.channel, asked = args.where.channel }
    end,
    sample = function(args)
        return { ts = args.ts, channel = args.channel, asked = args.where.channel }
    end,
    exact = { "ts" },
}

--- A channel for `notify`: a run's messages are one thread. { mention } calls somebody.
function Channel.channel(self, options)
    local given = rt.options(options or {}, { mention = "string|table" }, "channel:channel")
    return function(message)
        local run = message.run
        local first = run and ("%s\n%s · %s · %s"):format(message.text, run.playbook, run.environment, run.id) or message.text
        self:post(first, { thread = true, mention = given.mention })
    end
end

--- A channel by a bot's token: { token = secret "SLACK_BOT_TOKEN", channel = "C012AB3CD" | "#deploys", url = "https://slack.com" }.
--- Nothing is asked yet.
function slack.channel(options)
    local where = service.options(options, { token = { "text", required = true }, channel = { "string", required = true } },
        "slack.channel")
    where.url = where.url or "https://slack.com"
    return setmetatable({ where = where }, handle)
end

return slack
