-- grafana: annotations on its graphs, what its data sources say, its alerts and dashboards.
local rt = select(2, ...)
local prometheus = require "rollout.prometheus"
local service = require "rollout.service"

local grafana = {}

local HINTS = { access_denied = "the token is of a service account that may write annotations and query data sources" }

local function ask(args, what, method, path, options)
    options = options or {}
    options.where, options.what, options.method, options.path = args.where, what, method, path
    options.bearer, options.hints = args.where.token, HINTS
    return service.ask(options)
end

local Server = {}
local handle = rt.class("grafana.server", Server, function(self)
    return self.where.url
end)

-- ---- annotations ----

local function mark_of(ctx)
    return "rollout-" .. service.mark(ctx):sub(1, 12)
end

--- server:annotate{ text, tags = { "shop" }, dashboard = "its uid", panel = 4, at, to } → { id }: a mark on the graphs, of all
--- dashboards that show the tags where none is named. `at` and `to` are milliseconds; now.
Server.annotate = service.probed {
    name = "grafana.annotate",
    args = function(self, options)
        local args = rt.options(options, { text = { "string", required = true }, tags = "table", dashboard = "string",
            panel = "integer", at = "integer", to = "integer" }, "server:annotate")
        args.where, args.tags = self.where, args.tags or {}
        return args
    end,
    describe = function(args)
        return ("annotate %s: %s"):format(args.where.url, service.shortened(tostring(args.text), 200))
    end,
    call = function(args, ctx)
        local tags = table.move(args.tags, 1, #args.tags, 1, {})
        tags[#tags + 1] = mark_of(ctx)
        local told = ask(args, "annotation", "POST", "/api/annotations", { json = { text = rt.masked(args.text), tags = tags,
            dashboardUID = args.dashboard, panelId = args.panel, time = args.at or rt.now(), timeEnd = args.to } })
        if not told.id then
            rt.raise("protocol", "annotation: what answered is no Grafana")
        end
        return { id = told.id }
    end,
    probe = function(args, ctx)
        local found = ask(args, "annotations", "GET", "/api/annotations", { query = { tags = mark_of(ctx), type = "annotation" } })
        if service.list(found, "annotations", "Grafana")[1] then
            return "done", { id = found[1].id }
        end
        return "undone"
    end,
    sample = function()
        return { id = rt.unknown "the annotation's id" }
    end,
}

--- server:finish(annotation, { text }): what it marks lasted until now.
Server.finish = rt.effect {
    name = "grafana.finish",
    class = "idempotent",
    args = function(self, annotation, options)
        local args = rt.options(options or {}, { text = "string" }, "server:finish")
        local id = type(annotation) == "table" and not rt.is_unknown(annotation) and annotation.id or annotation
        if math.type(id) ~= "integer" and not rt.is_unknown(id) then
            rt.raise("usage", "server:finish: the first argument is what annotate() returned, or an id")
        end
        args.where, args.id = self.where, id
        return args
    end,
    describe = function(args)
        return ("end annotation %s of %s"):format(tostring(args.id), args.where.url)
    end,
    call = function(args)
        ask(args, "annotation " .. args.id, "PATCH", ("/api/annotations/%d"):format(args.id), { idempotent = true,
            json = { timeEnd = rt.now(), text = args.text and rt.masked(args.text) } })
        return { id = args.id }
    end,
    sample = function(args)
        return { id = args.id }
    end,
}

-- ---- data ----

local QUERY = { datasource = { "string", required = true }, since = { "duration", default = 300000 }, query = "table",
    expr = "string" }

local function query_arguments(call)
    return function(self, options)
        local args = rt.options(options, QUERY, "server:" .. call)
        if (args.expr == nil) == (args.query == nil) then
            rt.raise("usage", ("server:%s: expr for Prometheus and Loki, or query, a table as a panel's JSON has it"):format(call))
        end
        args.where = self.where
        return args
    end
end

local function described(args)
    return ("ask %s, data source %s, for %s"):format(args.where.url, args.datasource, args.expr or rt.json.encode(args.query))
end

-- One series of a frame: its last number that is one.
local function series_of(frame, list)
    local fields = frame.schema and frame.schema.fields or {}
    local times
    for i, field in ipairs(fields) do
        local values = frame.data and frame.data.values[i] or {}
        if field.type == "time" then
            times = values
        elseif field.type == "number" then
            local series = { labels = field.labels or {}, name = field.name, values = {} }
            for n, value in ipairs(values) do
                if type(value) == "number" and value == value then
                    table.insert(series.values, times and { times[n], value } or { 0, value })
                    series.last = value
                end
            end
            series.values = rt.json.array(series.values)
            list[#list + 1] = series
        end
    end
end

local function run_query(args)
    local what = described(args)
    local query = { refId = "A", datasource = { uid = args.datasource }, intervalMs = 1000, maxDataPoints = 1000,
        expr = args.expr, range = args.expr and true or nil }
    for name, value in pairs(args.query or {}) do
        query[name] = value
    end
    query.refId = "A"
    local told = ask(args, what, "POST", "/api/ds/query", { idempotent = true, accept = { 400, 500 },
        json = { queries = { query }, from = tostring(rt.now() - args.since), to = tostring(rt.now()) } })
    local result = type(told.results) == "table" and told.results.A
    if not result or result.error then
        local said = result and result.error or told.message or "what answered is no Grafana"
        rt.raise(result and "refused" or "protocol", what .. ": " .. service.shortened(tostring(said), 300))
    end
    local list = {}
    for _, frame in ipairs(result.frames and service.list(result.frames, what, "Grafana") or {}) do
        series_of(frame, list)
    end
    return list
end

--- server:query{ datasource = "its uid", expr = "promql" | query = { rawSql = …, format = "time_series" }, since = "5m" } →
--- { { labels, name, values = { { milliseconds, number }, … }, last }, … }.
Server.query = rt.effect {
    name = "grafana.query", class = "read", args = query_arguments "query", describe = described,
    call = function(args)
        return rt.json.array(run_query(args))
    end,
    sample = function()
        return rt.json.array {}
    end,
}

--- server:value{ … }: the newest number of the only series, or nil: there is none.
Server.value = rt.effect {
    name = "grafana.value", class = "read", args = query_arguments "value", describe = described,
    call = function(args)
        local list = run_query(args)
        if #list > 1 then
            rt.raise("ambiguous", ("%s: gives %d series; make them one in the query"):format(described(args), #list))
        end
        return list[1] and list[1].last
    end,
    sample = function(args)
        return rt.unknown(args.expr or "the query's value")
    end,
}

-- ---- alerts, dashboards ----

--- server:quiet{ severity = "critical" }: an expectation that none of Grafana's alert rules with these labels fires; unknown where
--- there are none, or where one has no data.
function Server.quiet(self, labels)
    local where = self.where
    return prometheus.server { url = where.url .. "/api/prometheus/grafana", bearer = where.token, ca = where.ca,
        proxy = where.proxy, headers = where.headers }:quiet(labels)
end

local dashboard = rt.effect {
    name = "grafana.dashboard",
    class = "read",
    args = function(self, uid)
        if type(uid) ~= "string" then
            rt.raise("usage", "server:dashboard: its uid, which its address has after /d/")
        end
        return { where = self.where, uid = uid }
    end,
    describe = function(args)
        return ("whether %s has the dashboard %s"):format(args.where.url, args.uid)
    end,
    call = function(args)
        local name = "dashboard " .. args.uid
        local told, answer = ask(args, name, "GET", "/api/dashboards/uid/" .. service.encoded(args.uid), { accept = { 404 } })
        if answer.status == 404 then
            return { name = name, verdict = "fail", measured = "not there", limit = "there" }
        elseif type(told.dashboard) ~= "table" then
            rt.raise("protocol", name .. ": what answered is no Grafana")
        end
        return { name = name, verdict = "pass", measured = told.dashboard.title, limit = "there" }
    end,
    sample = function(args)
        return { name = "dashboard " .. tostring(args.uid), verdict = "unknown" }
    end,
}

--- server:dashboard(uid): an expectation that it is there.
function Server.dashboard(self, uid)
    return rt.expectation(dashboard(self, uid))
end

--- A Grafana: { url = "https://grafana.example.com", token = secret "GRAFANA_TOKEN", ca, timeout }. Nothing is asked yet.
function grafana.server(options)
    local where = service.options(options, { token = { "text", required = true } }, "grafana.server")
    service.demand(where, "url", "grafana.server", "url = \"https://grafana.example.com\"")
    return setmetatable({ where = where }, handle)
end

return grafana
