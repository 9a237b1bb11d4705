-- http.sample: many requests of one kind, measured.
local rt, asked, take = ...

local describe = asked.describe

local MOST = 10000

local function count_of(given, where)
    if (given.n == nil) == (given.duration == nil) then
        asked.fail(where, "n (how many) or duration (how long): one of them")
    end
    for _, name in ipairs { "n", "duration", "concurrency", "rate" } do
        local value = given[name]
        if value ~= nil and not rt.is_unknown(value) and value <= 0 then
            asked.fail(where, "%s is more than 0", name)
        end
    end
    if given.concurrency and not rt.is_unknown(given.concurrency) and given.concurrency > MOST then
        asked.fail(where, "concurrency is %d at most", MOST)
    end
end

local function sample_arguments(given)
    local where = "http.sample"
    if type(given) ~= "table" then
        asked.fail(where, "takes a table: http.sample { url = …, n = 1000, concurrency = 10 }")
    end
    local opts = {}
    for name, value in pairs(given) do
        opts[name] = value
    end
    local url = opts.url or opts[1]
    opts.url, opts[1] = nil, nil
    local method = type(opts.method) == "string" and opts.method:upper() or "GET"
    opts.timeout = opts.timeout or "10s"
    local args, checked = asked.arguments(method, url, opts, asked.options.sample, where)
    count_of(checked, where)
    args.count, args.duration = checked.n, checked.duration
    -- an open loop sends at its moments, so the slots are a limit and not the measure
    args.concurrency, args.rate = checked.concurrency or (checked.rate and 100 or 10), checked.rate
    return args
end

local function extent(args)
    return args.count and ("%s times"):format(tostring(args.count))
        or "for " .. (rt.is_unknown(args.duration) and tostring(args.duration) or rt.show_duration(args.duration))
end

return rt.effect {
    name = "http.sample",
    class = function(args) return args.class end,
    args = sample_arguments,
    describe = function(args)
        return ("sample %s %s, %s"):format(describe(args), extent(args), args.rate and ("%s a second"):format(tostring(args.rate))
            or ("%s at once"):format(tostring(args.concurrency)))
    end,
    call = function(args)
        local found = take(args)
        local result = {
            count = found.count, errors = found.errors, bytes = found.bytes, ms = found.elapsed,
            error_rate = found.count > 0 and found.errors / found.count or 0.0,
            rate = found.elapsed > 0 and found.count / found.elapsed * 1000 or 0.0,
            errors_by = found.kinds, histogram = rt.json.array(found.histogram),
        }
        for _, name in ipairs { "min", "mean", "p50", "p90", "p95", "p99", "p999", "max" } do
            result[name] = found[name]
        end
        return result
    end,
    sample = function(args)
        local result = { histogram = rt.json.array {}, errors_by = {} }
        for _, name in ipairs { "count", "errors", "error_rate", "rate", "bytes", "ms", "min", "mean", "p50", "p90", "p95", "p99",
            "p999", "max" } do
            result[name] = rt.unknown(name .. " of " .. describe(args))
        end
        return result
    end,
}
