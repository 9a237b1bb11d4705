-- k6: a load test as the team wrote it, judged by what k6 keeps for machines: the summary's thresholds and checks, never what it
-- prints or its exit code alone.
local _, rt = ...
local fs, json, sh = require "rollout.fs", require "rollout.json", require "rollout.sh"

local k6 = {}

local ANY = {}
for code = 0, 255 do
    ANY[code + 1] = code
end
-- k6's own exit codes: with this one the test ran to its end, and a threshold was crossed.
local THRESHOLDS_CROSSED = 99

local OPTIONS = {
    cwd = "string", env = "table", command = { "table", default = { "k6" } }, timeout = { "duration", default = 1800000 },
    vus = "integer", duration = "string", iterations = "integer", arguments = { "table", default = {} },
}

local function named(args)
    return "k6 run " .. args.script
end

-- In handleSummary's data a threshold is { ok = true }; in --summary-export it is a boolean that says whether it was CROSSED.
local function held(value)
    if type(value) == "table" then
        return value.ok
    elseif type(value) == "boolean" then
        return not value
    end
end

local function field_of(metric, name)
    local values = type(metric.values) == "table" and metric.values or metric
    return values[name]
end

-- What is read of a summary, in either form: { thresholds = { { metric, expression, ok } }, checks, requests, … }, or nil and
-- why.
local function read_summary(text)
    local ok, data = pcall(json.decode, text)
    if not ok or type(data) ~= "table" or type(data.metrics) ~= "table" then
        return nil, "it is no summary of k6's"
    end
    local found = { thresholds = rt.json.array {}, crossed = rt.json.array {} }
    for name, metric in pairs(data.metrics) do
        if type(metric) == "table" and type(metric.thresholds) == "table" then
            for expression, value in pairs(metric.thresholds) do
                local fine = held(value)
                if fine == nil then
                    return nil, ("the threshold %q of %s is neither held nor crossed"):format(expression, name)
                end
                local text_of = ("%s %s"):format(name, expression)
                found.thresholds[#found.thresholds + 1] = { metric = name, expression = expression, ok = fine }
                if not fine then
                    found.crossed[#found.crossed + 1] = text_of
                end
            end
        end
    end
    local metrics = data.metrics
    local function value(name, field)
        return metrics[name] and field_of(metrics[name], field)
    end
    found.requests, found.iterations = value("http_reqs", "count"), value("iterations", "count")
    found.rate = value("http_reqs", "rate")
    found.failed = value("http_req_failed", "rate") or value("http_req_failed", "value")
    found.p95, found.mean = value("http_req_duration", "p(95)"), value("http_req_duration", "avg")
    found.p99 = value("http_req_duration", "p(99)")
    found.checks_passed, found.checks_failed = value("checks", "passes"), value("checks", "fails")
    return found
end

--- k6.run("loadtest/k6-loadtest.js", { env = { BASE_URL = url }, vus, duration, iterations, arguments = { "--quiet" }, cwd,
--- timeout = "30m", command = { "k6" } }) → { code, thresholds = { { metric, expression, ok } }, crossed, requests, iterations,
--- rate, failed, p95, p99 (where summaryTrendStats has it), mean, checks_passed, checks_failed, ms }. Crossed thresholds are a
--- result; a test that did not run to its end is an error.
k6.run = rt.effect {
    name = "k6.run", class = "read", -- a measurement: what its requests do to the service is its author's affair
    args = function(script, options)
        local args = rt.options(options or {}, OPTIONS, "k6.run")
        if type(script) ~= "string" and not rt.is_unknown(script) then
            rt.raise("usage", "k6.run: expects the script's path")
        end
        args.script = script
        return args
    end,
    describe = named,
    call = function(args, ctx)
        local summary = ("%s/k6-%s-%d.json"):format(ctx.dir, ctx.id, rt.now())
        local argv = table.move(args.command, 1, #args.command, 1, {})
        local words = { "run", "--summary-export=" .. summary, "--no-usage-report" }
        for _, option in ipairs { "vus", "duration", "iterations" } do
            if args[option] then
                words[#words + 1] = ("--%s=%s"):format(option, args[option])
            end
        end
        table.move(args.arguments, 1, #args.arguments, #words + 1, words)
        words[#words + 1] = args.script
        table.move(words, 1, #words, #argv + 1, argv)
        local ran = sh.read(argv, { cwd = args.cwd, env = args.env, ok = ANY, timeout = ("%dms"):format(args.timeout) })
        local text = fs.exists(summary) and fs.read(summary, { limit = "16MiB" })
        if ran.code ~= 0 and ran.code ~= THRESHOLDS_CROSSED then
            rt.raise("k6", ("%s did not run to its end (exit %s):\n  %s"):format(named(args), ran.code or ran.signal,
                rt.last_lines(ran.err .. "\n" .. ran.out, 6)), { code = ran.code })
        elseif not text then
            rt.raise("k6", named(args) .. ": there is no summary: does the script's own handleSummary leave --summary-export out?")
        end
        local found, why = read_summary(text)
        if not found then
            rt.raise("k6", ("%s: of its summary: %s"):format(named(args), why))
        elseif (ran.code == THRESHOLDS_CROSSED) ~= (#found.crossed > 0) then
            rt.raise("k6", ("%s: exit %d and a summary with %d crossed thresholds contradict each other"):format(named(args),
                ran.code, #found.crossed))
        end
        found.code, found.ms = ran.code, ran.ms
        return found
    end,
    sample = function() return { code = 0, thresholds = {}, crossed = {}, requests = rt.unknown "requests",
        p95 = rt.unknown "p95", p99 = rt.unknown "p99", failed = rt.unknown "failed" } end,
}

-- Expectations of a result, or of a summary's text.
local function judged(found, name)
    local checks = {}
    for i, threshold in ipairs(found.thresholds) do
        checks[i] = rt.expectation { name = threshold.metric, verdict = threshold.ok and "pass" or "fail",
            measured = threshold.ok and "held" or "crossed", limit = threshold.expression,
            text = ("%s %s: %s"):format(threshold.metric, threshold.expression, threshold.ok and "held" or "crossed") }
    end
    if found.checks_failed and found.checks_failed > 0 and #checks == 0 then
        checks[1] = rt.expectation { name = "checks", verdict = "fail", measured = found.checks_failed, limit = 0,
            text = ("%s of k6's checks failed"):format(found.checks_failed) }
    end
    if #checks == 0 then
        checks[1] = rt.expectation { name = name, verdict = "unknown",
            text = name .. ": the script has no thresholds, so nothing was demanded" }
    end
    if not found.iterations or found.iterations == 0 then
        checks[#checks + 1] = rt.expectation { name = name, verdict = "unknown", measured = 0, unit = "iterations",
            text = name .. ": nothing was done, so nothing was measured" }
    end
    return checks
end

--- Expectations: the test holds its thresholds: gate("load", { timeout = "15m" }, function() return k6.check("loadtest.js", { env
--- = … }) end). No thresholds, no iteration, and a test that did not run to its end are `unknown`.
function k6.check(script, options)
    return judged(k6.run(script, options), named { script = script })
end

--- The same of a summary that is there already (--summary-export, or handleSummary's data as JSON).
function k6.summary(path)
    local found, why = read_summary(fs.read(path, { limit = "16MiB" }))
    if not found then
        return rt.expectation { name = path, verdict = "unknown", text = ("%s: %s"):format(path, why) }
    end
    return judged(found, path)
end

return k6
