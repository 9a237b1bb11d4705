-- gate: must hold, now or within a time. Nothing but a pass is a pass.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"
local check = require "lang.check"
local expect = require "lang.expect"
local units = require "lang.units"

local DEFAULT_EVERY = 5000

local SPEC = { every = "duration", within = "duration", needs = "integer", fresh = "duration" }

local function verify(name, opts)
    local where = ("gate %q"):format(name)
    if not opts.within and (opts.every or opts.needs) then
        options.refuse(where, (opts.every and "every" or "needs") .. " goes with within = \"5m\": how long to try")
    elseif opts.needs and opts.needs < 1 then
        options.refuse(where, "needs is at least 1")
    elseif opts.every and opts.every == 0 then
        options.refuse(where, "every is longer than 0s")
    end
end

local function failure(scope, list, tries, began)
    local opts = scope.opts
    local tried = opts.within and (" (tried %d %s in %s)"):format(tries, tries == 1 and "time" or "times",
        units.show(host.mono() - began)) or ""
    local text = expect.summary(list) ~= "" and expect.listing(list, tried)
        or ("it passed, but not %d times in a row%s"):format(opts.needs, tried)
    engine.raise("gate", text, { expectations = check.plain(list), tries = tries })
end

local function run(scope, body)
    local opts = scope.opts
    local needs, every = opts.needs or 1, opts.every or DEFAULT_EVERY
    local began = host.mono()
    local row, tries = 0, 0
    while true do
        tries = tries + 1
        local started = host.mono()
        local verdict, list = check.measure(scope, body, { n = tries })
        row = verdict == "pass" and row + 1 or 0
        if row >= needs then
            return { at = host.now(), tries = tries, expectations = check.plain(list) }
        end
        local next_try = started + every
        if not opts.within or next_try > began + opts.within then failure(scope, list, tries, began) end
        local wait = math.max(0, next_try - host.mono())
        engine.idle(("try %d: %s"):format(tries + 1, verdict == "pass" and ("passed %d of %d"):format(row, needs)
            or expect.summary(list)), host.now() + math.floor(began + opts.within - host.mono()),
            function() host.task.sleep(math.ceil(wait)) end)
        engine.pause_point()
    end
end

engine.verb("gate", function(name, opts, body)
    opts, body = options.verb("gate", name, opts, body, SPEC)
    verify(name, opts)
    local value = engine.unit {
        kind = "gate", name = name, opts = opts, body = body,
        facts = { within = opts.within, every = opts.every, needs = opts.needs },
        run = function(scope) return run(scope, body) end,
        replay = function(ended)
            return opts.fresh ~= nil and ended.value ~= nil and host.now() - ended.value.at > opts.fresh
        end,
    }
    return value ~= nil
end)
