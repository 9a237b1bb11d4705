-- statuspage: what users are told on a page of Statuspage's: incidents, maintenance, and which parts work.
local rt = select(2, ...)
local service = require "rollout.service"
local time = require "rollout.time"

local statuspage = {}

local HINTS = { access_denied = "the API key (Manage account, API info) is not right, or its user may not do that",
    not_found = "are the page's id and the incident's right?" }
local COMPONENT = { "operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage" }
local INCIDENT = { "investigating", "identified", "monitoring", "resolved" }
local MAINTENANCE = { "scheduled", "in_progress", "verifying", "completed" }

local function ask(args, what, method, path, options)
    options = options or {}
    options.where, options.what, options.method = args.where, what, method
    options.path = "/v1/pages/" .. service.encoded(args.where.page) .. path
    options.headers, options.hints = { Authorization = "OAuth " .. args.where.token }, HINTS
    return (service.ask(options))
end

local function one_of(list, word)
    for _, one in ipairs(list) do
        if one == word then
            return true
        end
    end
    return false
end

local function status_of(list, status, call)
    if not rt.is_unknown(status) and not one_of(list, status) then
        local hint = rt.suggest(tostring(status), list)
        rt.raise("usage", ("%s: the status %q is none of %s%s"):format(call, tostring(status), table.concat(list, ", "),
            hint and "; " .. hint or ""))
    end
    return status
end

-- { API = "major_outage" } or a list of names
local function components_of(given, call)
    for _, status in pairs(given or {}) do
        status_of(COMPONENT, status, call)
    end
    return given
end

local function components(args)
    local what = "components of the status page"
    local list = ask(args, what, "GET", "/components", { query = { per_page = 100 } })
    local found = {}
    for i, one in ipairs(service.list(list, what, "Statuspage")) do
        if type(one.id) ~= "string" or type(one.status) ~= "string" then
            rt.raise("protocol", what .. ": what answered is no Statuspage")
        end
        found[i] = { id = one.id, name = one.name, status = one.status }
    end
    return found
end

-- The ids of those names (an id will do as well): { id = status }, { ids }
local function resolved(args, wanted)
    if wanted == nil or next(wanted) == nil then
        return nil
    end
    local known, names, statuses, ids = {}, {}, {}, {}
    for _, one in ipairs(components(args)) do
        known[one.name], known[one.id] = one.id, one.id
        names[#names + 1] = one.name
    end
    for name, status in pairs(wanted) do
        if not known[name] then
            local hint = rt.suggest(name, names)
            rt.raise("not_found", ("the status page has no component %q%s"):format(name, hint and ": " .. hint
                or "; it has " .. table.concat(names, ", ")))
        end
        statuses[known[name]] = status
        ids[#ids + 1] = known[name]
    end
    return statuses, ids
end

local function plain(incident)
    return { id = incident.id, name = incident.name, status = incident.status, url = incident.shortlink }
end

local Page = {}
local handle = rt.class("statuspage.page", Page, function(self)
    return "status page " .. self.where.page
end)

-- ---- incidents and maintenance ----

local function begin(args, ctx)
    local statuses, ids = resolved(args, args.components)
    return plain(ask(args, "a new incident", "POST", "/incidents", { json = { incident = {
        name = args.name, status = args.status, body = args.body, impact_override = args.impact,
        components = statuses, component_ids = ids, deliver_notifications = args.notify,
        scheduled_for = args.from and time.format(args.from), scheduled_until = args.to and time.format(args.to),
        scheduled_auto_in_progress = args.auto, scheduled_auto_completed = args.auto,
        metadata = { rollouthost = { mark = service.mark(ctx) } },
    } } }))
end

-- Whether an incident of this very effect is there.
local function find(args, ctx)
    local list = ask(args, "incidents", "GET", "/incidents", { query = { limit = 100 } })
    for _, incident in ipairs(service.list(list, "incidents", "Statuspage")) do
        local own = type(incident.metadata) == "table" and incident.metadata.rollouthost
        if type(own) == "table" and own.mark == service.mark(ctx) then
            return "done", plain(incident)
        end
    end
    return "undone"
end

local function beginning(name, arguments_of, describe)
    return service.probed {
        name = name, args = arguments_of, describe = describe, call = begin, probe = find,
        sample = function(args)
            return { id = rt.unknown "the incident's id", name = args.name, status = args.status, url = rt.unknown "its URL" }
        end,
    }
end

--- page:incident{ name, status = "investigating", body, impact = "none" | "minor" | "major" | "critical", components = { API =
--- "major_outage" }, notify = true } → { id, name, status, url }: users see it now, and subscribers are told.
Page.incident = beginning("statuspage.incident", function(self, options)
    local call = "page:incident"
    local args = rt.options(options, { name = { "string", required = true }, status = { "string", default = "investigating" },
        body = "string", impact = { "string", one_of = { "none", "minor", "major", "critical" } }, components = "table",
        notify = { "boolean", default = true } }, call)
    args.where, args.status = self.where, status_of(INCIDENT, args.status, call)
    args.components = components_of(args.components, call)
    return args
end, function(args)
    return ("tell users on the status page: %s (%s)"):format(tostring(args.name), args.status)
end)

local function moment(value, what)
    if value == nil or rt.is_unknown(value) or math.type(value) == "integer" then
        return value
    elseif type(value) == "string" then
        return time.parse(value)
    end
    rt.raise("usage", ("page:maintenance: %s is a time such as \"2026-03-01T22:00:00Z\", or what run.now() gives"):format(what))
end

--- page:maintenance{ name, body, from, to, status = "scheduled", components = { API = "under_maintenance" }, auto, notify } → { id,
--- … }. With status = "in_progress" it begins now. `auto`: it begins and ends by itself.
Page.maintenance = beginning("statuspage.maintenance", function(self, options)
    local call = "page:maintenance"
    local args = rt.options(options, { name = { "string", required = true }, status = { "string", default = "scheduled" },
        body = "string", from = "any", to = "any", components = "table", auto = { "boolean", default = false },
        notify = { "boolean", default = true } }, call)
    args.where, args.status = self.where, status_of(MAINTENANCE, args.status, call)
    args.components = components_of(args.components, call)
    args.from, args.to = moment(args.from, "from"), moment(args.to, "to")
    if args.status == "scheduled" and (args.from == nil or args.to == nil) then
        rt.raise("usage", call .. ": what is scheduled has `from` and `to`")
    end
    return args
end, function(args)
    return ("tell users of maintenance on the status page: %s (%s)"):format(tostring(args.name), args.status)
end)

local function incident_id(incident)
    return type(incident) == "table" and not rt.is_unknown(incident) and incident.id or incident
end

--- page:update(incident, { status, body, components, notify }) → { id, name, status, url }: the next thing users are told; status
--- "resolved" or "completed" ends it.
Page.update = service.probed {
    name = "statuspage.update",
    args = function(self, incident, options)
        local call = "page:update"
        local args = rt.options(options, { status = { "string", required = true }, body = "string", components = "table",
            notify = { "boolean", default = true } }, call)
        local id = incident_id(incident)
        if type(id) ~= "string" and not rt.is_unknown(id) then
            rt.raise("usage", call .. ": the first argument is what incident() or maintenance() returned, or an id")
        elseif not one_of(MAINTENANCE, args.status) then
            status_of(INCIDENT, args.status, call)
        end
        args.where, args.id, args.components = self.where, id, components_of(args.components, call)
        return args
    end,
    describe = function(args)
        return ("set incident %s on the status page to %s"):format(tostring(args.id), args.status)
    end,
    call = function(args)
        local statuses, ids = resolved(args, args.components)
        return plain(ask(args, "incident " .. args.id, "PATCH", "/incidents/" .. service.encoded(args.id), { json = { incident = {
            status = args.status, body = args.body, components = statuses, component_ids = ids,
            deliver_notifications = args.notify } } }))
    end,
    probe = function(args)
        local there = ask(args, "incident " .. args.id, "GET", "/incidents/" .. service.encoded(args.id))
        local newest = there.incident_updates and there.incident_updates[1]
        local said = newest and (newest.body ~= rt.json.null and newest.body or nil)
        if there.status == args.status and newest and newest.status == args.status and (args.body == nil or said == args.body) then
            return "done", plain(there)
        end
        return "undone"
    end,
    sample = function(args)
        return { id = args.id, name = rt.unknown "the incident's name", status = args.status, url = rt.unknown "its URL" }
    end,
}

--- page:resolve(incident, body): the same with "resolved".
function Page.resolve(self, incident, body)
    return self:update(incident, { status = "resolved", body = body })
end

-- ---- components ----

--- page:components() → { { id, name, status }, … }, 100 at most.
Page.components = rt.effect {
    name = "statuspage.components",
    class = "read",
    args = function(self)
        return { where = self.where }
    end,
    describe = function()
        return "components of the status page"
    end,
    call = function(args)
        return rt.json.array(components(args))
    end,
    sample = function()
        return rt.json.array {}
    end,
}

--- page:set{ API = "under_maintenance", Shop = "operational" }: what users are told of those components, named or by id.
Page.set = rt.effect {
    name = "statuspage.set",
    class = "idempotent",
    args = function(self, given)
        if type(given) ~= "table" or next(given) == nil then
            rt.raise("usage", "page:set takes components and their status: { API = \"operational\" }")
        end
        return { where = self.where, components = components_of(given, "page:set") }
    end,
    describe = function(args)
        local parts = {}
        for name, status in pairs(args.components) do
            parts[#parts + 1] = name .. " " .. tostring(status)
        end
        return "tell users on the status page: " .. table.concat(parts, ", ")
    end,
    call = function(args)
        local statuses, ids = resolved(args, args.components)
        for _, id in ipairs(ids) do
            ask(args, "component " .. id, "PATCH", "/components/" .. id, { idempotent = true,
                json = { component = { status = statuses[id] } } })
        end
        return args.components
    end,
    sample = function(args)
        return args.components
    end,
}

local checked = rt.effect {
    name = "statuspage.operational",
    class = "read",
    args = function(self, ...)
        return { where = self.where, names = { ... } }
    end,
    describe = function(args)
        return ("whether %s operational on the status page"):format(#args.names == 0 and "all is"
            or table.concat(args.names, ", ") .. " is")
    end,
    call = function(args)
        local list, seen, not_so = components(args), {}, {}
        for _, one in ipairs(list) do
            if #args.names == 0 or one_of(args.names, one.name) or one_of(args.names, one.id) then
                seen[one.name], seen[one.id] = true, true
                not_so[#not_so + 1] = one.status ~= "operational" and one.name .. " " .. one.status or nil
            end
        end
        local missing = {}
        for _, name in ipairs(args.names) do
            missing[#missing + 1] = not seen[name] and name or nil
        end
        local verdict = #not_so > 0 and "fail" or (#missing > 0 or #list == 0) and "unknown" or "pass"
        return { name = "status page", verdict = verdict, limit = "operational", measured = verdict == "pass" and "operational"
            or #not_so > 0 and table.concat(not_so, ", ") or nil, text = verdict == "pass" and "status page: operational"
            or "status page: " .. (#not_so > 0 and table.concat(not_so, ", ") or "it has no component "
                .. table.concat(missing, ", ")) }
    end,
    sample = function()
        return { name = "status page", verdict = "unknown" }
    end,
}

--- page:operational("API", …): an expectation that users are told so of these components, or of all.
function Page.operational(self, ...)
    return rt.expectation(checked(self, ...))
end

--- A page: { page = "its id", token = secret "STATUSPAGE_API_KEY", url = "https://api.statuspage.io" }. Nothing is asked yet.
function statuspage.page(options)
    local where = service.options(options, { page = { "string", required = true }, token = { "text", required = true } },
        "statuspage.page")
    where.url = where.url or "https://api.statuspage.io"
    return setmetatable({ where = where }, handle)
end

return statuspage
