-- Plan mode: what would happen, effect by effect. Nothing is touched and no gate is judged: effects answer with
-- their samples, bodies run on those, and each thing is said as a `plan` event.
local host = require "lang.host"
local check = require "lang.check"
local engine = require "lang.engine"
local expect = require "lang.expect"
local unknown = require "lang.unknown"
local units = require "lang.units"

local plan = { problems = 0 }

local function depth_of(scope)
    local depth = -2 -- the run itself is no level
    while scope do
        scope, depth = scope.parent, depth + 1
    end
    return math.max(depth, 0)
end

local function say(scope, facts)
    facts.depth = facts.depth or depth_of(scope)
    host.say("plan", scope.key, facts)
end

-- Mistakes that no value which only a run knows can cause.
local CERTAIN = { usage = true, misplaced = true, undefined = true, syntax = true, module = true, destructive = true }

-- A body that ended with an error: one that a real run would stumble over as well, or one that comes of samples
-- standing for what only a run knows. The plan goes on behind it.
local function problem(scope, err)
    local plain = engine.plain_error(err)
    local certain = CERTAIN[plain.code]
    plan.problems = plan.problems + (certain and 1 or 0)
    say(scope, { kind = certain and "problem" or "guess", depth = depth_of(scope) + 1, code = plain.code,
        line = plain.where,
        text = certain and plain.message or "without a run's values the plan cannot follow this further: " .. plain.message })
end

-- Runs a body on samples. → ok, value
local function try(scope, fn, ...)
    local result = table.pack(pcall(engine.within, scope, fn, ...))
    if not result[1] then problem(scope, result[2]) end
    return table.unpack(result, 1, result.n)
end

-- A check's body on samples: what it would read. That samples satisfy no check is no problem.
local function read(scope, body)
    local inside = setmetatable({ place = "check" }, { __index = scope })
    local before = expect.made
    local returned = table.pack(try(inside, body, { n = 1, elapsed = 0 }))
    if not returned[1] then return end
    local wrong = check.misfit(("%s %q"):format(scope.kind, scope.name), returned[2])
    if wrong then problem(scope, wrong) end
    local made, count = expect.made - before, 0
    for i = 2, returned.n do count = count + check.count(returned[i]) end
    local doubt = returned[2] == nil and "this check returns nothing here; a run fails where it does"
        or count < made and ("%d of %d expectations are not returned here, so they do not count (`a and b` is b)")
            :format(made - count, made)
    if doubt then say(scope, { kind = "guess", depth = depth_of(scope) + 1, line = scope.line, text = doubt }) end
end

local NOT_SHOWN = { evidence = true, users = true, bound = true }

function engine.plan_unit(spec, scope, skipped)
    local facts = { kind = spec.kind, name = spec.name, line = scope.line, skipped = skipped }
    for key, value in pairs(spec.facts or {}) do
        local empty = type(value) == "table" and next(value) == nil
        if not NOT_SHOWN[key] and not empty then facts[key] = value end
    end
    for _, key in ipairs { "duration", "within", "every", "timeout" } do
        if type(facts[key]) == "number" then facts[key] = units.show(facts[key]) end
    end
    local opts = spec.opts or {}
    facts.on_failure, facts.destructive = opts.on_failure, opts.destructive
    say(scope, facts)
    if skipped then return nil end
    if spec.kind ~= "step" then
        if spec.body then read(scope, spec.body) end
        return unknown.new(spec.name)
    end
    local ok, value = try(scope, spec.body)
    if opts.undo then
        local undo = setmetatable({ key = scope.key .. "!undo", parent = scope }, { __index = scope })
        say(undo, { kind = "undo", name = spec.name, line = scope.line })
        try(undo, opts.undo, value)
    end
    if not ok then return unknown.new(spec.name) end
    return value
end

function engine.plan_stage(scope, fn, skipped)
    local opts = scope.opts
    local window = opts.window
    say(scope, { kind = "stage", name = scope.name, line = scope.line, skipped = skipped,
        before = type(opts.before) == "number" and units.show(opts.before) or opts.before,
        window = window and { days = window.days, from = window.from, to = window.to, tz = window.tz } })
    if skipped then return nil end
    if window then
        local ok, err = pcall(require("lang.window").parse, window, ("stage %q"):format(scope.name))
        if not ok then problem(scope, err) end
    end
    local result = table.pack(try(scope, fn))
    if result[1] then return table.unpack(result, 2, result.n) end
    return unknown.new(scope.name)
end

function engine.plan_branch(scope)
    say(scope, { kind = "branch", name = scope.name })
end

-- given = { name, line, fn, reason, key }
function engine.plan_compensation(given)
    local scope = engine.container("procedure", given.name, given.key)
    say(scope, { kind = "rollback", name = given.name, line = given.line, skipped = given.reason })
    if not given.reason then try(scope, given.fn) end
end

-- info = { class, describe, line, scope }: says the effect and answers with its sample.
function engine.plan_effect(def, args, info)
    say(info.scope, { kind = "effect", effect = def.name, class = info.class, describe = info.describe,
        line = info.line, depth = depth_of(info.scope) + 1 })
    if def.secret and def.secret(args) or not def.sample then return unknown.new(def.name) end
    return def.sample(args)
end

unknown.on_guess(function(label)
    if engine.mode() ~= "plan" then return end
    local scope = engine.scope()
    say(scope, { kind = "guess", depth = depth_of(scope) + 1, line = engine.blame(),
        text = ("%s is known after run: this is one of two ways"):format(label) })
end)

return plan
