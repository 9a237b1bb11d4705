-- prometheus: what Prometheus (or Thanos, Mimir, VictoriaMetrics) has measured, and what an application exposes. Where there is
-- no data there is no number, and an expectation about it is neither held nor failed.
local rt = select(2, ...)
local http = require "rollout.http"
local service = require "rollout.service"

local prometheus = {}

-- What Prometheus writes a sample as: a text, so that NaN and the infinities fit.
local function number(text)
    local special = { NaN = false, ["+Inf"] = math.huge, ["-Inf"] = -math.huge }
    if special[text] ~= nil then
        return special[text] or nil
    end
    return tonumber(text)
end

-- `partial`: a part of the servers behind it did not answer, so the number is of some of the data.
local function ask(args, path, query, what)
    local told = service.ask { what = what, where = args.where, path = "/api/v1/" .. path, query = query,
        bearer = args.where.bearer, basic = args.where.basic }
    if told.status ~= "success" or type(told.data) ~= "table" then
        rt.raise("protocol", what .. ": what answered is no Prometheus: " .. (told.error or "it told neither success nor error"))
    elseif told.warnings and #told.warnings > 0 and not args.where.partial then
        rt.raise("partial", ("%s: not all data was there (%s); partial = true takes what there is"):format(what,
            table.concat(told.warnings, "; ")))
    end
    return told.data
end

-- A series, or a selector of some, as PromQL writes it.
local function named(labels, name)
    local parts = {}
    for label, value in pairs(labels) do
        if label ~= "__name__" and label ~= "alertname" then
            parts[#parts + 1] = label .. "=" .. rt.json.encode(value)
        end
    end
    table.sort(parts)
    return (name or labels.__name__ or "") .. (#parts > 0 and "{" .. table.concat(parts, ",") .. "}" or "")
end

local function instant(args, what)
    local query = { query = args.query, time = args.at and args.at / 1000 or nil }
    local data = ask(args, "query", query, what)
    service.list(data.result, what, "Prometheus")
    if data.resultType == "scalar" then
        return { { labels = {}, value = number(data.result[2]) } }
    elseif data.resultType ~= "vector" then
        rt.raise("usage", ("%s: gives a %s, not a vector: for a range of time there is range()"):format(what,
            tostring(data.resultType)))
    end
    local list = {}
    for i, series in ipairs(data.result) do
        if not series.value then
            rt.raise("usage", what .. ": gives native histograms: take histogram_quantile() or histogram_count() of them")
        end
        list[i] = { labels = series.metric, value = number(series.value[2]) }
    end
    return list
end

local function query_arguments(self, query, options, spec, call)
    if not rt.is_unknown(query) and (type(query) ~= "string" or not query:find "%S") then
        rt.raise("usage", ("server:%s: the first argument is the query, a text in PromQL"):format(call))
    end
    local args = rt.options(options or {}, spec, "server:" .. call)
    args.where, args.query = self.where, query
    return args
end

local function described(args)
    return ("ask %s for %s"):format(args.where.url, tostring(args.query))
end

local Server = {}
local handle = rt.class("prometheus.server", Server, function(self)
    return self.where.url
end)

--- server:query(promql, { at = milliseconds }) → { { labels, value }, … }: one for each series, none where there is no data.
--- `value` is nil where it is NaN (0 errors of 0 requests).
Server.query = rt.effect {
    name = "prometheus.query",
    class = "read",
    args = function(self, query, options)
        return query_arguments(self, query, options, { at = "integer" }, "query")
    end,
    describe = described,
    call = function(args)
        return rt.json.array(instant(args, described(args)))
    end,
    sample = function()
        return rt.json.array {}
    end,
}

--- server:value(promql, { at }) → the number, or nil: no series, or NaN. More than one series is an error: a sum() or max()
--- says which is meant.
Server.value = rt.effect {
    name = "prometheus.value",
    class = "read",
    args = function(self, query, options)
        return query_arguments(self, query, options, { at = "integer" }, "value")
    end,
    describe = described,
    call = function(args)
        local what = described(args)
        local list = instant(args, what)
        if #list > 1 then
            rt.raise("ambiguous", ("%s: gives %d series, such as %s and %s: make them one by sum(), max() or a selector")
                :format(what, #list, named(list[1].labels), named(list[2].labels)))
        end
        return list[1] and list[1].value
    end,
    sample = function(args)
        return rt.unknown(tostring(args.query))
    end,
}

-- What is asked most often of a series.
local function summed_up(series)
    local result = { labels = series.metric, values = {}, count = 0 }
    local sum, finite = 0, 0
    for _, sample in ipairs(series.values or {}) do
        local value = number(sample[2])
        if value then
            result.count = result.count + 1
            result.values[result.count] = { math.floor(sample[1] * 1000), value }
            result.min = math.min(result.min or value, value)
            result.max = math.max(result.max or value, value)
            result.last = value
            sum, finite = sum + value, finite + 1
        end
    end
    result.mean = finite > 0 and sum / finite or nil
    result.values = rt.json.array(result.values)
    return result
end

--- server:range(promql, { since = "1h", step = "1m", at }) → { { labels, values = { { milliseconds, number }, … }, count, min,
--- max, mean, last }, … }: what it was during the last hour (before `at`). Moments without data are left out.
Server.range = rt.effect {
    name = "prometheus.range",
    class = "read",
    args = function(self, query, options)
        local args = query_arguments(self, query, options, { since = { "duration", required = true }, step = "duration",
            at = "integer" }, "range")
        args.step = args.step or math.max(args.since // 60, 1000)
        if args.step == 0 or args.since // args.step > 11000 then
            rt.raise("usage", "server:range: a step that makes at most 11,000 points of it")
        end
        return args
    end,
    describe = described,
    call = function(args)
        local stop = args.at or rt.now()
        local data = ask(args, "query_range", { query = args.query, start = (stop - args.since) / 1000, ["end"] = stop / 1000,
            step = args.step / 1000 }, described(args))
        local list = {}
        for i, series in ipairs(service.list(data.result, described(args), "Prometheus")) do
            list[i] = summed_up(series)
        end
        return rt.json.array(list)
    end,
    sample = function()
        return rt.json.array {}
    end,
}

local function selected(labels, wanted)
    for name, value in pairs(wanted) do
        if labels[name] ~= value then
            return false
        end
    end
    return true
end

local function label_arguments(call)
    return function(self, labels)
        for name, value in pairs(labels or {}) do
            if type(name) ~= "string" or type(value) ~= "string" then
                rt.raise("usage", ("server:%s takes labels and their values: { severity = \"critical\" }"):format(call))
            end
        end
        return { where = self.where, labels = labels or {} }
    end
end

-- The alerting rules that have those labels: how many, those that cannot be evaluated, and the alerts that fire.
local function alerts(groups, labels)
    local count, broken, firing = 0, {}, {}
    for _, group in ipairs(groups) do
        for _, rule in ipairs(group.rules or {}) do
            if rule.type == "alerting" and selected(rule.labels or {}, labels) then
                count = count + 1
                if rule.health ~= "ok" then
                    broken[#broken + 1] = ("%s (%s)"):format(rule.name, rule.lastError or rule.health)
                end
                for _, alert in ipairs(rule.alerts or {}) do
                    if alert.state == "firing" or alert.state == "Alerting" then -- Grafana's word
                        firing[#firing + 1] = named(alert.labels, rule.name)
                    end
                end
            end
        end
    end
    return count, broken, firing
end

local quiet = rt.effect {
    name = "prometheus.quiet",
    class = "read",
    args = label_arguments "quiet",
    describe = function(args)
        return ("which %s fire at %s"):format(named(args.labels, "alerts"), args.where.url)
    end,
    call = function(args)
        local what = named(args.labels, "alerts") .. " at " .. args.where.url
        local data = ask(args, "rules", { type = "alert" }, what)
        local count, broken, firing = alerts(service.list(data.groups, what, "Prometheus"), args.labels)
        local result = { name = named(args.labels, "alerts"), measured = #firing, limit = 0, unit = "firing" }
        if #firing > 0 then
            result.verdict, result.text = "fail", ("%d firing: %s"):format(#firing, table.concat(firing, ", "))
        elseif count == 0 then
            result.verdict, result.measured = "unknown", nil
            result.text = what .. ": there is no such alerting rule, so none can fire"
        elseif #broken > 0 then
            result.verdict, result.measured = "unknown", nil
            result.text = what .. ": not evaluated: " .. table.concat(broken, ", ")
        else
            result.verdict, result.text = "pass", ("none of %d alerting rules fires"):format(count)
        end
        return result
    end,
    sample = function()
        return { name = "alerts", verdict = "unknown" }
    end,
}

--- server:quiet{ severity = "critical" }: an expectation that no alert of rules with these labels fires. Unknown where there are
--- no such rules, or where one cannot be evaluated.
function Server.quiet(self, labels)
    return rt.expectation(quiet(self, labels))
end

local up = rt.effect {
    name = "prometheus.up",
    class = "read",
    args = label_arguments "up",
    describe = function(args)
        return ("which targets %s reaches: %s"):format(args.where.url, named(args.labels, "up"))
    end,
    call = function(args)
        local name, down = named(args.labels, "up"), {}
        local list = instant({ where = args.where, query = name }, "targets of " .. args.where.url)
        for _, target in ipairs(list) do
            if target.value ~= 1 then
                down[#down + 1] = target.labels.instance or named(target.labels)
            end
        end
        if #list == 0 then
            return { name = name, verdict = "unknown", text = name .. ": there is no such target" }
        end
        return { name = name, verdict = #down > 0 and "fail" or "pass", measured = #list - #down, limit = #list, unit = "targets",
            text = ("%s: %d of %d targets are scraped%s"):format(name, #list - #down, #list,
                #down > 0 and ", not " .. table.concat(down, ", ") or "") }
    end,
    sample = function(args)
        return { name = named(args.labels, "up"), verdict = "unknown" }
    end,
}

--- server:up{ job = "api" }: an expectation that Prometheus reaches all targets with these labels, and knows one.
function Server.up(self, labels)
    return rt.expectation(up(self, labels))
end

--- Where Prometheus answers: { url = "http://prometheus:9090", bearer | basic = { user, password }, headers, ca, timeout,
--- partial }. Nothing is asked yet.
function prometheus.server(options)
    local where = service.options(options, { bearer = "text", basic = "table", partial = "boolean" }, "prometheus.server")
    service.demand(where, "url", "prometheus.server", "url = \"http://prometheus:9090\"")
    return setmetatable({ where = where }, handle)
end

-- ---- what an application exposes ----

local UNESCAPED = { n = "\n", ["\\"] = "\\", ['"'] = '"' }

-- 'a="x",b="y"' → { a = "x", b = "y" }
local function labels_of(text)
    local labels, at = {}, 1
    while true do
        local name, start = text:match('^[%s,]*([%w_:]+)%s*=%s*"()', at)
        if not name then
            return labels
        end
        local stop = start
        while text:sub(stop, stop) ~= '"' and stop <= #text do
            stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
        end
        labels[name] = text:sub(start, stop - 1):gsub("\\(.)", UNESCAPED)
        at = stop + 1
    end
end

-- The sum of the samples of that metric, or nil: there is none.
local function summed(text, metric, wanted)
    local sum
    for line in text:gmatch "[^\n]+" do
        local name, rest = line:match "^([%a_:][%w_:]*)(.*)$"
        if name == metric then
            local braces, value = rest:match "^%s*(%b{})%s*(%S+)"
            value = number(value or rest:match "^%s+(%S+)")
            if value and selected(labels_of(braces and braces:sub(2, -2) or ""), wanted) then
                sum = (sum or 0) + value
            end
        end
    end
    return sum
end

--- prometheus.scrape(url, "errors_total", { labels = { code = "500" }, … }) → the sum of what the application exposes under that
--- name, or nil where it exposes none. The other options are those of http.get.
prometheus.scrape = rt.effect {
    name = "prometheus.scrape",
    class = "read",
    args = function(url, metric, options)
        if type(metric) ~= "string" or not metric:find "^[%a_:][%w_:]*$" then
            rt.raise("usage", "prometheus.scrape: the second argument is a metric's name, such as \"http_requests_total\"")
        end
        local request = {}
        for name, value in pairs(options or {}) do
            request[name] = value
        end
        local labels = request.labels or {}
        request.labels = nil
        return { url = url, metric = metric, labels = labels, request = request }
    end,
    describe = function(args)
        return ("%s at %s"):format(named(args.labels, args.metric), tostring(args.url))
    end,
    call = function(args)
        args.request.expect = args.request.expect or 200
        local page = http.get(args.url, args.request)
        if not ("\n" .. page.body):find "\n[%a_:][%w_:]*[%s{]" or page.body:find "^%s*<" then
            rt.raise("protocol", ("%s: what it answers is no metrics in Prometheus' text format"):format(tostring(args.url)))
        end
        return summed(page.body, args.metric, args.labels)
    end,
    sample = function(args)
        return rt.unknown(args.metric)
    end,
}

return prometheus
