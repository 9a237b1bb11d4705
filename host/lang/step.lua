-- step: done once. Attempts, and the probe that tells whether it is done already.
local host = require "lang.host"
local check = require "lang.check"
local engine = require "lang.engine"
local options = require "lang.options"
local units = require "lang.units"
local unwind = require "lang.unwind"
local upvalues = require "lang.upvalues"

local DEFAULT_TIMEOUT = 10 * 60 * 1000

-- ---- attempts ----

local function backoff(retry, attempt)
    local wait = (retry.backoff or 0) * 2 ^ (attempt - 1)
    return math.floor(math.min(wait, retry.max or math.huge))
end

local function one_attempt(scope, body)
    local held = upvalues.collect(body)
    local result = table.pack(pcall(engine.deadline, scope.opts.timeout or DEFAULT_TIMEOUT,
        string.format("step %q", scope.name), engine.closed, body))
    upvalues.check(scope, held)
    return result
end

local function worth_retrying(err)
    return not engine.passes_on(err) and not engine.is_playbook_error(engine.as_error(err))
        and not (type(err) == "table" and (err.code == "deadline" or err.code == "destructive" or err.code == "upvalue"
            or err.code == "guardian_lost" or err.code == "done" or err.code == "rejected"))
end

local function run(scope, body)
    local opts = scope.opts
    local retry = opts.retry or { times = 1 }
    local recorded = host.recall("attempt.begin", scope.key)
    scope.attempt = recorded and recorded.n or 1
    local tried = recorded and recorded.tried or 1
    if scope.retried then
        scope.attempt, tried = scope.attempt + 1, 1
        engine.record("attempt.begin", scope.key, { n = scope.attempt, tried = tried })
    end
    if opts.done and not scope.resumed then
        local verdict, value = check.probe(scope, opts.done)
        if verdict == "done" then
            return value
        end
    end
    while true do
        scope.ordinal = 0
        local result = one_attempt(scope, body)
        if result[1] then
            if result.n > 2 then
                engine.raise("usage", string.format("step %q returns %d values: return one (a table)", scope.name, result.n - 1))
            end
            return result[2]
        end
        local err = result[2]
        if type(err) == "table" and err.code == "done" then
            return err.value
        end
        if tried >= retry.times or not worth_retrying(err) then
            error(err, 0)
        end
        local wait = backoff(retry, tried)
        scope.attempt, tried = scope.attempt + 1, tried + 1
        engine.record("attempt.begin", scope.key, { n = scope.attempt, tried = tried, of = retry.times, wait = wait,
            error = engine.plain_error(err) })
        if wait > 0 then
            engine.commit()
            engine.idle(string.format("attempt %d of %d", tried, retry.times), host.now() + wait, function()
                host.task.sleep(wait)
            end)
        end
    end
end

-- The step is in flight still: a resumed run executes the body's rest.
local IN_FLIGHT = { paused = true, doubt = true, divergence = true, journal = true, guardian_lost = true, abort = true }

local function told(scope, ok, ...)
    if scope.ordinal and (ok or not (type(...) == "table" and IN_FLIGHT[(...).code])) then
        engine.body_ended(scope)
    end
    if not ok then
        error((...), 0)
    end
    return ...
end

-- Has modules note what the body left, where one asked for that.
local function observed(scope, body)
    if not engine.body_ended then
        return run(scope, body)
    end
    return told(scope, pcall(run, scope, body))
end

local function check_retry(name, retry)
    if not retry then
        return
    end
    local checked = options.check(retry, { times = { "integer", required = true }, backoff = "duration", max = "duration" },
        string.format("step %q: retry", name))
    if checked.times < 1 then
        engine.fail("usage", string.format("step %q: retry.times counts all attempts, so it is at least 1", name))
    end
    return checked
end

local SPEC = { retry = "table", undo = "function", done = "function", idempotent = "boolean", destructive = "string",
    required = "boolean" }

engine.verb("step", function(name, opts, body)
    opts, body = options.verb("step", name, opts, body, SPEC)
    opts.retry = check_retry(name, opts.retry)
    local compensation
    local value = engine.unit {
        kind = "step", name = name, opts = opts, body = body, place = "effects", own_timeout = true,
        facts = { undo = opts.undo and true or nil, required = opts.required },
        entered = function(scope, seq)
            if opts.undo then
                compensation = unwind.register_undo(scope, seq, opts.undo)
            end
        end,
        run = function(scope)
            local result = observed(scope, body)
            if compensation then
                compensation.result = result
            end
            return result
        end,
    }
    if compensation then
        compensation.result = value
    end
    return value
end)

return { default_timeout = units.show(DEFAULT_TIMEOUT) }
