-- webhook: events told to an address by POST, signed, so that who gets them knows by whom they are.
local rt = select(2, ...)
local service = require "rollout.service"

local webhook = {}

local native = rt.native "http"

local function base64_of(hex)
    return native.base64((hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)))
end

-- Each scheme: (key, id, time in seconds, body, header) → headers. What is signed comes with the signature, but for "body".
local SCHEMES = {
    -- GitHub's way, and of most that came after it
    body = function(key, _, _, body, header)
        return { [header or "X-Hub-Signature-256"] = "sha256=" .. native.hmac(key, body) }
    end,
    -- Stripe's way: who records an event cannot send it again later
    timestamp = function(key, _, at, body, header)
        return { [header or "X-Signature"] = ("t=%d,v1=%s"):format(at, native.hmac(key, at .. "." .. body)) }
    end,
    -- standardwebhooks.com: the key is base64, after "whsec_"
    standard = function(key, id, at, body)
        return { ["webhook-id"] = id, ["webhook-timestamp"] = at,
            ["webhook-signature"] = "v1," .. base64_of(native.hmac(key, id .. "." .. at .. "." .. body, true)) }
    end,
}

-- What is signed is what is sent: a text, made here. A secret would have to be opened for it.
local function refuse_secrets(value, path)
    if rt.is_secret(value) then
        rt.raise("usage", ("endpoint:send: %s is a secret; an event holds none: sign with `key`, or send it in `headers`")
            :format(path))
    elseif type(value) == "table" and not rt.is_unknown(value) then
        for name, one in pairs(value) do
            refuse_secrets(one, path .. "." .. tostring(name))
        end
    end
end

local Endpoint = {}
local handle = rt.class("webhook.endpoint", Endpoint, function(self)
    return "webhook " .. self.where.name
end)

--- endpoint:send{ type = "rollout.done", version = "v1.4.0", … } → { id, status }: the table as JSON. Unsafe, or idempotent where
--- the endpoint says so: then it gets the same id when it is sent again.
Endpoint.send = rt.effect {
    name = "webhook.send",
    class = function(args)
        return args.where.idempotent and "idempotent" or "unsafe"
    end,
    args = function(self, payload)
        if type(payload) ~= "table" then
            rt.raise("usage", "endpoint:send takes the event, a table of plain data")
        end
        refuse_secrets(payload, "event")
        return { where = self.where, payload = payload }
    end,
    describe = function(args)
        local kind = type(args.payload.type) == "string" and args.payload.type .. " " or ""
        return ("tell %sto webhook %s"):format(kind, args.where.name)
    end,
    call = function(args, ctx)
        local where, body = args.where, rt.json.encode(args.payload)
        local id, at = "msg_" .. service.mark(ctx), rt.now() // 1000
        local headers = where.key ~= nil and SCHEMES[where.scheme](where.key, id, at, body, where.header) or {}
        headers["Content-Type"] = "application/json"
        if where.idempotent then
            headers["Idempotency-Key"] = id
        end
        local _, answer = service.ask { what = "webhook " .. where.name, where = where, url = where.url, method = "POST",
            body = body, headers = headers, plain = true, idempotent = where.idempotent }
        return { id = id, status = answer.status }
    end,
    sample = function()
        return { id = rt.unknown "the event's id", status = 200 }
    end,
}

--- A channel for `notify`: { type = "rollout.message", text, playbook, environment, run } is sent.
function Endpoint.channel(self)
    return function(message)
        local run = message.run or {}
        self:send { type = "rollout.message", text = message.text, playbook = run.playbook, environment = run.environment,
            run = run.id }
    end
end

--- Where events go: { url, key, scheme = "body" | "timestamp" | "standard", header, idempotent, name, headers, ca, timeout }.
--- Nothing is sent yet. The URL may be a secret. Without a key nothing is signed. "standard" is idempotent: it carries an id.
function webhook.endpoint(options)
    local call = "webhook.endpoint"
    local where = service.options(options, { url = { "text", required = true }, key = "text", scheme = { "string",
        default = "body", one_of = { "body", "timestamp", "standard" } }, header = "string", idempotent = "boolean",
        name = "string" }, call)
    if where.scheme == "standard" then
        service.demand(where, "key", call, "the secret, whsec_…")
        where.idempotent = true
    end
    where.name = where.name or tostring(where.url):gsub("^(%a+://)[^/@]*@", "%1"):gsub("%?.*$", "")
    return setmetatable({ where = where }, handle)
end

return webhook
