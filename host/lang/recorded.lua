-- What a module finds recorded of the run that it is part of, and what it notes itself when a step's body has ended.
local host = require "lang.host"
local engine = require "lang.engine"

local recorded = {}

-- What was found of the effects of a name: it is asked for again and again, and only what is new is looked through.
local found = {} -- name → { seq = looked at so far, begun = key → describe, list, at = key → index }

local function look(name)
    local known = found[name] or { seq = 0, begun = {}, list = {}, at = {} }
    found[name] = known
    local newest = known.seq
    for _, event in ipairs(host.history("effect.begin", known.seq)) do
        known.begun[event.key] = event.payload.effect == name and (event.payload.describe or name) or nil
        newest = math.max(newest, event.seq)
    end
    for _, event in ipairs(host.history("effect.end", known.seq)) do
        local describe = known.begun[event.key]
        if describe and event.payload.status == "ok" then
            local at = known.at[event.key] or #known.list + 1
            known.at[event.key] = at
            known.list[at] = { key = event.key, time = event.time, result = event.payload.value, describe = describe }
        end
        newest = math.max(newest, event.seq)
    end
    known.seq = newest
    return known.list
end

--- The effects of that name that have ended well, of earlier processes too, in the order in which they ended:
--- { key, time (ms), result, describe }, not to be changed. Of a secret result nothing is kept: `result` is nil.
function recorded.effects(name)
    local list = look(name)
    return table.move(list, 1, #list, 1, {})
end

-- ---- facts about steps ----

local HOOK_MS = 5000

local hooks = {} -- { module, fn }

-- What the journal says of a step's effects, those of all attempts. `late`: the last one that changed anything ended, or may
-- have ended, before this process took the run up, so what is found now is not what it left.
local function done_by(scope)
    local info, last = { key = scope.key, name = scope.name, changed = false, effects = {} }, nil
    for attempt = 1, scope.attempt do
        local ordinal = 1
        local key = engine.effect_key(scope, attempt, ordinal)
        local begun = host.recall("effect.begin", key)
        while begun do
            info.effects[#info.effects + 1] = begun.effect
            if begun.class ~= "read" then
                info.changed, last = true, key
            end
            ordinal = ordinal + 1
            key = engine.effect_key(scope, attempt, ordinal)
            begun = host.recall("effect.begin", key)
        end
    end
    local _, _, _, replayed = host.recall("effect.end", last or "")
    return info, last and (replayed or scope.late == last)
end

-- In a task of its own, which a rollback that was asked for meanwhile does not cancel. → ok, facts or error
local function noted(hook, scope, info)
    local task = host.task.spawn(function()
        host.task.deadline(host.mono() + HOOK_MS)
        return (host.keep(require("lang.door").inside(scope, "after " .. hook.module, hook.fn, info)))
    end)
    return host.task.join(task)
end

local function body_ended(scope)
    local facts, missing = {}, {}
    local info, late = done_by(scope)
    for _, hook in ipairs(hooks) do
        local ok, result = false, "an earlier process made its last change"
        if not late then
            ok, result = noted(hook, scope, { key = info.key, name = info.name, changed = info.changed,
                effects = table.move(info.effects, 1, #info.effects, 1, {}) })
        end
        if ok then
            facts[hook.module] = result
        else
            missing[hook.module] = engine.as_error(result).message
        end
    end
    if next(facts) or next(missing) then
        engine.record("facts", scope.key, { name = scope.name, facts = next(facts) and facts,
            missing = next(missing) and missing })
    end
end

--- The loading module's fn(info) → plain facts or nil is called when a step's body has ended, well or not, and before that is
--- recorded. info = { key, name, changed = an effect that was no read has run, effects = { names } }
function recorded.after_step(fn)
    hooks[#hooks + 1] = { module = engine.loading, fn = fn }
    engine.body_ended = body_ended
end

--- What a module's hook noted, in journal order: { { key, name, time (ms), facts }, … }.
function recorded.observed(module)
    local list = {}
    for _, event in ipairs(host.history "facts") do
        local facts = event.payload.facts and event.payload.facts[module]
        if facts ~= nil then
            list[#list + 1] = { key = event.key, name = event.payload.name, time = event.time, facts = facts }
        end
    end
    return list
end

return recorded
