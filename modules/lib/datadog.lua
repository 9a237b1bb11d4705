-- datadog: what it has measured, what its monitors say, and events that mark a rollout.
local rt = select(2, ...)
local service = require "rollout.service"

local datadog = {}

local HINTS = { access_denied = "are the API key, the application key and the site (url) of one organization?" }

local function ask(args, what, method, path, options)
    options.where, options.what, options.method, options.path, options.hints = args.where, what, method, path, HINTS
    options.headers = { ["DD-API-KEY"] = args.where.api_key, ["DD-APPLICATION-KEY"] = args.where.app_key }
    return (service.ask(options))
end

local Account = {}
local handle = rt.class("datadog.account", Account, function(self)
    return self.where.url
end)

-- ---- metrics ----

local function query_arguments(call)
    return function(self, query, options)
        if not rt.is_unknown(query) and (type(query) ~= "string" or not query:find "%S") then
            rt.raise("usage", ("account:%s: the first argument is the query, such as \"avg:system.load.1{env:prod}\""):format(call))
        end
        local args = rt.options(options or {}, { since = { "duration", default = 300000 } }, "account:" .. call)
        args.where, args.query = self.where, query
        return args
    end
end

local function described(args)
    return "ask Datadog for " .. tostring(args.query)
end

local function run_query(args)
    local what, now = described(args), rt.now() // 1000
    local told = ask(args, what, "GET", "/api/v1/query", { query = { query = args.query, from = now - args.since // 1000,
        to = now } })
    if told.status == "error" or type(told.error) == "string" and told.error ~= "" then
        rt.raise("refused", what .. ": " .. service.shortened(tostring(told.error), 300))
    end
    local list = {}
    for i, one in ipairs(service.list(told.series, what, "Datadog")) do
        local series = { scope = one.scope, metric = one.metric, values = {} }
        for _, point in ipairs(one.pointlist or {}) do
            if type(point[2]) == "number" then
                table.insert(series.values, { math.tointeger(point[1]) or point[1], point[2] })
                series.last = point[2]
            end
        end
        series.values = rt.json.array(series.values)
        list[i] = series
    end
    return list
end

--- account:query("sum:trace.http.request.errors{service:shop}.as_count()", { since = "5m" }) → { { metric, scope, values = {
--- { milliseconds, number }, … }, last }, … }.
Account.query = rt.effect {
    name = "datadog.query", class = "read", args = query_arguments "query", describe = described,
    call = function(args)
        return rt.json.array(run_query(args))
    end,
    sample = function()
        return rt.json.array {}
    end,
}

--- account:value(query, { since }): the newest number of the only series, or nil: there is none.
Account.value = rt.effect {
    name = "datadog.value", class = "read", args = query_arguments "value", describe = described,
    call = function(args)
        local list = run_query(args)
        if #list > 1 then
            rt.raise("ambiguous", ("%s: gives %d series, such as %s and %s; leave out `by`, or name one"):format(described(args),
                #list, tostring(list[1].scope), tostring(list[2].scope)))
        end
        return list[1] and list[1].last
    end,
    sample = function(args)
        return rt.unknown(tostring(args.query))
    end,
}

-- ---- monitors ----

local function judged(list, what)
    local alert, blind = {}, {}
    for _, monitor in ipairs(list) do
        local state = monitor.overall_state
        if type(state) ~= "string" then
            rt.raise("protocol", what .. ": what answered is no Datadog")
        elseif state == "Alert" or state == "Warn" then
            alert[#alert + 1] = ("%s (%s)"):format(monitor.name, state)
        elseif state ~= "OK" then
            blind[#blind + 1] = ("%s (%s)"):format(monitor.name, state)
        end
    end
    return alert, blind
end

local quiet = rt.effect {
    name = "datadog.quiet",
    class = "read",
    args = function(self, ...)
        local tags = { ... }
        for _, tag in ipairs(tags) do
            if type(tag) ~= "string" then
                rt.raise("usage", "account:quiet takes tags of monitors: \"service:shop\", \"team:web\"")
            end
        end
        return { where = self.where, tags = tags }
    end,
    describe = function(args)
        return "Datadog's monitors " .. table.concat(args.tags, ", ")
    end,
    call = function(args)
        local what = "Datadog's monitors" .. (#args.tags > 0 and " with " .. table.concat(args.tags, ", ") or "")
        local list = ask(args, what, "GET", "/api/v1/monitor", { query = { page = 0, page_size = 1000,
            monitor_tags = #args.tags > 0 and table.concat(args.tags, ",") or nil } })
        local alert, blind = judged(service.list(list, what, "Datadog"), what)
        local result = { name = "monitors", limit = 0, unit = "alerting" }
        if #alert > 0 then
            result.verdict, result.measured = "fail", #alert
            result.text = ("%d of %d monitors: %s"):format(#alert, #list, table.concat(alert, ", "))
        elseif #list == 0 or #blind > 0 then
            result.verdict = "unknown"
            result.text = what .. ": " .. (#list == 0 and "there are none" or table.concat(blind, ", "))
        else
            result.verdict, result.measured, result.text = "pass", 0, ("%d monitors are OK"):format(#list)
        end
        return result
    end,
    sample = function()
        return { name = "monitors", verdict = "unknown" }
    end,
}

--- account:quiet("service:shop", …): an expectation that no monitor with these tags alerts or warns. Unknown where there are none,
--- or where one has no data.
function Account.quiet(self, ...)
    return rt.expectation(quiet(self, ...))
end

-- ---- events ----

local function mark_of(ctx)
    return "rollout:" .. service.mark(ctx):sub(1, 12)
end

--- account:event{ title, text, tags = { "service:shop" }, kind = "info" | "success" | "warning" | "error", group } → { id }: a
--- mark on graphs and in the event stream. `group`: events that belong together.
Account.event = service.probed {
    name = "datadog.event",
    args = function(self, options)
        local args = rt.options(options, { title = { "string", required = true }, text = { "string", default = "" }, tags = "table",
            kind = { "string", default = "info", one_of = { "info", "success", "warning", "error" } }, group = "string" },
            "account:event")
        args.where, args.tags = self.where, args.tags or {}
        return args
    end,
    describe = function(args)
        return "note in Datadog: " .. service.shortened(tostring(args.title), 200)
    end,
    call = function(args, ctx)
        local tags = table.move(args.tags, 1, #args.tags, 1, {})
        tags[#tags + 1] = mark_of(ctx)
        local told = ask(args, "Datadog, event", "POST", "/api/v1/events", { json = { title = service.shortened(args.title, 100),
            text = service.shortened(args.text, 4000), tags = tags, alert_type = args.kind, aggregation_key = args.group,
            source_type_name = "rollouthost", date_happened = rt.now() // 1000 } })
        local id = type(told.event) == "table" and told.event.id
        if not id then
            rt.raise("protocol", "Datadog, event: what answered is no Datadog")
        end
        return { id = tostring(id) }
    end,
    -- An event is found some time after it was taken: one that is not found may be there.
    probe = function(args, ctx)
        local now = rt.now() // 1000
        local told = ask(args, "Datadog, events", "GET", "/api/v1/events", { query = { start = now - 86400, ["end"] = now + 60,
            tags = mark_of(ctx) } })
        local event = service.list(told.events, "Datadog, events", "Datadog")[1]
        if event then
            return "done", { id = tostring(event.id) }
        end
        return "unknown"
    end,
    sample = function()
        return { id = rt.unknown "the event's id" }
    end,
}

--- An account: { api_key = secret "DD_API_KEY", app_key = secret "DD_APP_KEY", url = "https://api.datadoghq.com" } (other sites:
--- https://api.datadoghq.eu, https://api.us3.datadoghq.com …). Nothing is asked yet.
function datadog.account(options)
    local where = service.options(options, { api_key = { "text", required = true }, app_key = { "text", required = true } },
        "datadog.account")
    where.url = where.url or "https://api.datadoghq.com"
    return setmetatable({ where = where }, handle)
end

return datadog
