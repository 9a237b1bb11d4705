-- pagerduty: events of PagerDuty's Events API v2. An incident has a key: told twice it is one incident still.
local rt = select(2, ...)
local service = require "rollout.service"
local time = require "rollout.time"

local pagerduty = {}

local HINTS = { refused = "is it the integration key of an Events API v2 integration?" }

local function enqueue(args, what, path, json)
    json.routing_key = args.where.routing_key
    local told = service.ask { what = what, where = args.where, method = "POST", path = path, json = json,
        idempotent = json.dedup_key ~= nil, hints = HINTS }
    if told.status ~= "success" then
        rt.raise("protocol", ("%s: what answered is no PagerDuty (%s)"):format(what, tostring(told.message or told.status)))
    end
    return told
end

local function links_of(links, call)
    local list = {}
    for text, href in pairs(links or {}) do
        if type(text) ~= "string" or type(href) ~= "string" then
            rt.raise("usage", call .. ": links are { [\"what it is\"] = \"https://…\" }")
        end
        list[#list + 1] = { href = href, text = text }
    end
    return #list > 0 and list or nil
end

local Service = {}
local handle = rt.class("pagerduty.service", Service, function(self)
    return "PagerDuty " .. self.where.source
end)

--- service:trigger{ summary, severity = "critical" | "error" | "warning" | "info", key, source, component, group, class, details,
--- links = { ["what it is"] = url } } → { key }: somebody is called. With a key that is open already, that incident gets it.
Service.trigger = rt.effect {
    name = "pagerduty.trigger",
    class = "idempotent",
    args = function(self, options)
        local call = "service:trigger"
        local args = rt.options(options, { summary = { "string", required = true }, severity = { "string", default = "critical",
            one_of = { "critical", "error", "warning", "info" } }, key = "string", source = "string", component = "string",
            group = "string", class = "string", details = "table", links = "table" }, call)
        args.where, args.links = self.where, links_of(args.links, call)
        return args
    end,
    describe = function(args)
        return ("call PagerDuty: %s (%s)"):format(service.shortened(tostring(args.summary), 200), args.severity)
    end,
    call = function(args, ctx)
        local key = args.key or "rollout-" .. service.mark(ctx)
        local told = enqueue(args, "PagerDuty, trigger", "/v2/enqueue", { event_action = "trigger", dedup_key = key,
            client = "rollouthost", links = args.links, payload = { summary = service.shortened(args.summary, 1024),
                severity = args.severity, source = args.source or args.where.source, component = args.component,
                group = args.group, class = args.class, custom_details = args.details, timestamp = time.format(rt.now()) } })
        return { key = told.dedup_key or key }
    end,
    sample = function(args)
        return { key = args.key or rt.unknown "the incident's key" }
    end,
    exact = { "key" },
}

local function follow_up(verb, action)
    return rt.effect {
        name = "pagerduty." .. verb,
        class = "idempotent",
        args = function(self, incident)
            local key = type(incident) == "table" and not rt.is_unknown(incident) and incident.key or incident
            if type(key) ~= "string" and not rt.is_unknown(key) then
                rt.raise("usage", ("service:%s takes what trigger() returned, or the incident's key"):format(verb))
            end
            return { where = self.where, key = key }
        end,
        describe = function(args)
            return ("%s %s in PagerDuty"):format(verb, tostring(args.key))
        end,
        call = function(args)
            enqueue(args, "PagerDuty, " .. verb, "/v2/enqueue", { event_action = action, dedup_key = args.key })
            return { key = args.key }
        end,
        sample = function(args)
            return { key = args.key }
        end,
        exact = { "key" },
    }
end

--- service:acknowledge(incident), service:resolve(incident): of what trigger() returned, or of a key. PagerDuty says nothing where
--- there is no such incident.
Service.acknowledge = follow_up("acknowledge", "acknowledge")
Service.resolve = follow_up("resolve", "resolve")

--- service:change{ summary, details, links }: a change that PagerDuty shows beside incidents; nobody is called.
Service.change = rt.effect {
    name = "pagerduty.change",
    class = "unsafe",
    args = function(self, options)
        local call = "service:change"
        local args = rt.options(options, { summary = { "string", required = true }, details = "table", links = "table" }, call)
        args.where, args.links = self.where, links_of(args.links, call)
        return args
    end,
    describe = function(args)
        return "note a change in PagerDuty: " .. service.shortened(tostring(args.summary), 200)
    end,
    call = function(args)
        enqueue(args, "PagerDuty, change", "/v2/change/enqueue", { links = args.links, payload = { source = args.where.source,
            summary = service.shortened(args.summary, 1024), custom_details = args.details, timestamp = time.format(rt.now()) } })
        return true
    end,
    sample = function()
        return true
    end,
}

--- A channel for `notify`: a message calls somebody. All of a run are one incident, "rollout-RUN".
function Service.channel(self, severity)
    return function(message)
        local run = message.run or {}
        self:trigger { summary = message.text, severity = severity or "critical", key = run.id and "rollout-" .. run.id,
            details = run.id and { playbook = run.playbook, environment = run.environment, run = run.id } }
    end
end

--- A service: { routing_key = secret "PAGERDUTY_ROUTING_KEY", source = "what it is about", url = "https://events.pagerduty.com" }
--- (Europe: https://events.eu.pagerduty.com). Nothing is sent yet.
function pagerduty.service(options)
    local where = service.options(options, { routing_key = { "text", required = true }, source = { "string",
        default = "rollouthost" } }, "pagerduty.service")
    where.url = where.url or "https://events.pagerduty.com"
    return setmetatable({ where = where }, handle)
end

return pagerduty
