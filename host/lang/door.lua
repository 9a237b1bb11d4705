-- The effect door: the one way from Lua to the world. It knows the mode, the place, the deadline and the journal; a
-- module declares its effects here and keeps its native functions to itself.
local host = require "lang.host"
local check = require "lang.check"
local engine = require "lang.engine"

local door = {}

local function describe(def, args)
    local ok, text = pcall(def.describe or function() return def.name end, args)
    return ok and tostring(text) or def.name
end

local function class_of(def, args, scope)
    local class = type(def.class) == "function" and def.class(args) or def.class
    if class == "unsafe" and scope.opts and scope.opts.idempotent then
        return "idempotent"
    end
    return class
end

local function refuse_place(def, scope)
    if scope.place == "pure" and scope.kind ~= "step" then
        engine.fail("misplaced", string.format(
            "%s touches the world, and %s only computes and decides: put it into the body of a step, gate or soak", def.name,
            scope.key == "" and "top-level code" or scope.kind .. " " .. ("%q"):format(scope.name or scope.key)))
    end
end

local function refuse_change(def, class, scope)
    if scope.place == "check" and class ~= "read" then
        engine.fail("misplaced", string.format(
            "%s changes the world, and a check must not (%s %q): use a reading effect%s, or make it a step", def.name, scope.kind,
            scope.name or "", def.name == "sh.run" and " such as sh.read" or ""))
    end
end

-- text: a command or a statement; what: for people, or a function that says it.
local function refuse_text(text, what, scope)
    local around = scope
    while around do
        if around.opts and around.opts.destructive then
            return
        end
        around = around.parent
    end
    local pattern = require("lang.guarded").match(text, engine.deny)
    if pattern then
        engine.fail("destructive", string.format(
            "%s is refused in the protected environment %q: it matches %q and would destroy data. If it is meant, give "
            .. 'destructive = "why"', what(), engine.run.environment, pattern))
    end
end

local function refuse_destruction(def, args, scope)
    local text = engine.protected and def.destructive and not args.destructive and def.destructive(args)
    if text then
        refuse_text(text, function() return describe(def, args) end, scope)
    end
end

--- Within an effect: refuses a text that comes to light only there, as a statement within a transaction.
function door.guard(text)
    if engine.protected then
        refuse_text(text, function() return text:gsub("%s+", " ") end, engine.scope())
    end
end

-- A person says yes before the effect in which this is called goes on.
local function ask_person(given)
    return require("lang.approve").inside(engine.scope(), given)
end

local PROGRESS_MS = 250

-- Says how far an effect is, as often as it is told or 4 times a second, and once when all of a unit is done.
local function progress_of(scope)
    local said, whole = -PROGRESS_MS, nil
    return function(done, total, unit, beside)
        local now, all = host.mono(), done == total and (unit or "")
        if now - said >= PROGRESS_MS or (all and whole ~= all) then
            said, whole = now, all
            host.say("progress", scope.key, { done = done, total = total, unit = unit, beside = beside })
        end
    end
end

local function context(scope, key, def)
    local id = engine.slug(key)
    return {
        id = id, key = key, approve = ask_person, log = scope.log, dir = engine.run.run_dir, name = def.name,
        progress = progress_of(scope), unit = scope.key,
    }
end

-- The secrets in it that a command gives: native code opens what is still closed, and holds up everybody meanwhile.
local function open_in(value, seen)
    if type(value) == "userdata" then
        while host.await_secret(value) do end
    elseif type(value) == "table" and not seen[value] then
        seen[value] = true
        for _, field in next, value do
            open_in(field, seen)
        end
    end
end

--- Waits for the secrets in a value that are the output of commands, where there are any.
function door.open(value)
    if engine.commanded then
        open_in(value, {})
    end
end

local function part_of(scope, name, ctx)
    return { kind = "effect", name = name, key = ctx.key, ctx = ctx, parent = scope, counts = {}, place = scope.place,
        log = scope.log, opts = scope.opts, inner = 0, suffix = "" }
end

local function inside(scope, name, ctx, fn, ...)
    return engine.within(part_of(scope, name, ctx), fn, ...)
end

-- What a probe asks is a part of the effect: not recorded, so a probe that could not tell is made anew. Its commands have ids
-- of their own: their ends would be taken for those of the effect's.
local function probe(def, args, ctx, scope)
    door.open(args)
    local part = part_of(scope, def.name, ctx)
    engine.serial = (engine.serial or 0) + 1
    part.suffix = "-probe" .. host.epoch .. "." .. engine.serial
    return engine.within(part, def.probe, args, ctx)
end

--- Runs fn(…) as the inside of an effect of that scope: what it calls is not journaled.
function door.inside(scope, name, fn, ...)
    return inside(scope, name, context(scope, scope.key .. "@" .. name, { name = name }), fn, ...)
end

-- An effect that another one calls: part of it, journaled with it, under its deadline.
local function nested(def, args, scope)
    scope.inner = scope.inner + 1
    local suffix = scope.suffix .. "-" .. scope.inner
    local id = scope.ctx.id .. suffix
    -- What a process before this one read is not read now: an end that is known would be taken for this one's.
    if def.command and host.run.resumed and class_of(def, args, scope) == "read" and host.command_state(id) == "ended" then
        id = id .. "-" .. host.epoch
    end
    local ctx = setmetatable({ id = id, key = scope.ctx.key .. suffix }, { __index = scope.ctx })
    door.open(args)
    return inside(scope, def.name, ctx, def.call, args, ctx)
end

-- One of several things that an effect does at once. They tell no progress by themselves: they would talk across each other.
local function item_of(scope, number, alone)
    return setmetatable({ id = scope.ctx.id .. "-" .. number, key = scope.ctx.key .. "-" .. number,
        unit = alone and scope.ctx.unit }, { __index = scope.ctx })
end

--- Within an effect: calls fn(item, i) for each item of the list, `limit` at once, and returns what they returned, in order.
--- The first error cancels the others and is raised when they have ended.
function door.each(list, limit, fn)
    local scope = engine.scope()
    local base, at, failed = scope.inner, 0, false
    local results, workers = {}, {}
    scope.inner = base + #list
    local function work()
        while at < #list and not failed do
            at = at + 1
            local i = at
            results[i] = inside(scope, scope.name, item_of(scope, base + i, #list == 1), fn, list[i], i)
        end
    end
    for n = 1, math.min(limit, #list) do
        workers[n] = work
    end
    require "lang.together"(workers, function()
        failed = true
        return engine.error("sibling", "cancelled: another part of the same effect failed", { control = true }), true
    end)
    return results
end

local function blamed(err, def, line)
    err = engine.as_error(err)
    err.effect = err.effect or def.name
    err.where = err.where or line
    return err
end

-- What masking would corrupt is refused: a path or an identifier that a later effect takes for the real one.
local function refuse_masked(def, args, what, value)
    if select(2, host.keep(value)) then
        engine.raise("masked", string.format("%s: its %s holds a secret, and masking would alter it", describe(def, args), what))
    end
end

local function refuse_masked_fields(def, args, whose, values)
    if type(def.exact) == "table" and type(values) == "table" then
        for _, field in ipairs(def.exact) do
            refuse_masked(def, args, whose .. field, values[field])
        end
    end
end

-- Does it, and returns what the journal keeps of its result.
local function perform(def, args, ctx, scope)
    door.open(args)
    local value = inside(scope, def.name, ctx, def.call, args, ctx)
    if host.is_secret(value) or (def.secret and def.secret(args)) then
        return value
    end
    local kept, altered = host.keep(value)
    if altered and def.exact == true then
        refuse_masked(def, args, "result", value)
    elseif altered then
        refuse_masked_fields(def, args, "result's ", value)
    end
    return kept
end

-- Reads in a check are not journaled one by one: they can be repeated, and the verdict is recorded.
local function measure(def, args, scope, line)
    scope.counts["@effect"] = (scope.counts["@effect"] or 0) + 1
    engine.serial = (engine.serial or 0) + 1
    local ctx = context(scope, scope.key .. "@check." .. host.epoch .. "." .. engine.serial, def)
    local ok, value = pcall(perform, def, args, ctx, scope)
    if not ok then
        error(blamed(value, def, line), 0)
    end
    return value
end

-- What people should know of a result stands beside it: what a restore has lost, what a backup was proven by.
local function tell(def, args, key, value)
    local text = def.says and value ~= nil and def.says(value, args)
    if text then
        engine.record("note", key .. "!says", { text = host.keep(text) })
    end
end

-- value: as the journal keeps it; of a secret result nothing is kept.
local function finish(def, args, key, started, value)
    local payload = { status = "ok", ms = host.mono() - started }
    if def.secret and def.secret(args) then
        payload.secret = true
    else
        payload.value = value
        tell(def, args, key, value)
    end
    engine.record("effect.end", key, payload)
    return value
end

-- Whether its last question is one that nobody has answered: before it asks, an effect does only what can be done again.
local function asks(key)
    local last
    for _, event in ipairs(host.history "approve.begin") do
        if event.key:sub(1, #key) == key and event.key:find("^[!-]", #key + 1) then
            last = event
        end
    end
    if not last then
        return false
    end
    local _, answered = host.recall("approve.answer", last.key)
    return last.seq > (answered or 0)
end

-- What became of an effect that was in flight when the host died, or that says itself that it cannot tell (`unsure`, why).
-- Returns true, value where it is settled; false where it is to be run (again, or with ctx.adopting, to be found again).
local function settle(def, args, ctx, class, scope, begun_seq, cancelled, unsure)
    scope.late = ctx.key -- whatever it was, it was before this process
    local decision, decided_seq, _, replayed = host.recall("decision", ctx.key)
    if decision and decided_seq > begun_seq and not (replayed and decision.choice == "stop") then
        if decision.choice == "done" or decision.choice == "skip" then
            return true, decision.result
        elseif decision.choice == "retry" then
            return false
        end
        error(engine.error(decision.choice == "rollback" and "rollback" or "stopped", "decided: " .. decision.choice,
            { control = true, policy = decision.choice == "rollback" and "rollback" or "stop" }), 0)
    end
    if asks(ctx.key) then
        ctx.again = true
        return false
    end
    local why = unsure or "the host ended while it was in flight"
    if unsure then
        ctx.adopting = nil
    elseif cancelled then
        why = "it was cancelled while it was in flight"
    elseif def.command then
        local state = host.command_state(ctx.id)
        if state == "never" then
            return false
        elseif state ~= "lost" then
            ctx.adopting = true
            ctx.ended = state == "ended"
            return false
        end
    end
    if class == "read" or class == "idempotent" then
        ctx.again = true
        return false
    end
    if class == "probed" then
        local ok, verdict, value = pcall(probe, def, args, ctx, scope)
        if ok and verdict == "done" then
            return true, value
        elseif ok and verdict == "undone" then
            return false
        end
        if scope.opts and scope.opts.idempotent then -- said of what is unsafe, and that it is where its probe cannot tell
            ctx.again = true
            return false
        end
        local reason = ok and value or not ok and engine.as_error(verdict).message
        why = why .. ", and its probe cannot tell whether it is done" .. (type(reason) == "string" and ": " .. reason or "")
    end
    if scope.opts and scope.opts.done then
        local verdict, value = check.probe(scope, scope.opts.done)
        if verdict == "done" then
            error(engine.error("done", "done", { control = true, value = value }), 0)
        elseif verdict == "undone" then
            return false
        end
        why = why .. ", and the step's done cannot tell" .. (type(value) == "string" and ": " .. value or "")
    end
    local text = describe(def, args)
    engine.record("doubt", ctx.key, { name = def.name, describe = text, unit = scope.key, line = scope.line, reason = why })
    engine.commit()
    error(engine.error("doubt", string.format("%s: %s (%s in step %q)", text, why, def.name, scope.name),
        { control = true, key = ctx.key, unit = scope.key, where = scope.line }), 0)
end

--- The key of a step's effect: the n-th one of that attempt.
function engine.effect_key(scope, attempt, ordinal)
    return string.format("%s@%d.%d", scope.key, attempt, ordinal)
end

-- An effect of a step: intent before, result after.
local journaled
function journaled(def, args, class, scope, line)
    scope.ordinal = (scope.ordinal or 0) + 1
    local key = engine.effect_key(scope, scope.attempt or 1, scope.ordinal)
    local begun, begun_seq = host.recall("effect.begin", key)
    local ended, ended_seq = host.recall("effect.end", key)
    local digest = host.digest(args)
    local ctx = context(scope, key, def)
    ctx.id = begun and begun.id or ctx.id
    local cancelled = ended and ended.status == "cancelled"
    if ended and ended.secret then
        scope.renewed = true
    elseif ended and scope.renewed and not def.command and (class == "read" or class == "idempotent") then
        -- It may have used a secret that this process had to get anew (a session), or what was made with it: done again,
        -- all of it is of one piece.
        ended, ctx.again = nil, true
    end
    if begun and (begun.effect ~= def.name or begun.line ~= line or (begun.digest ~= digest and not scope.renewed)) then
        engine.diverged(string.format("effect %d of step %q was %s at %s when the run was recorded, and is %s at %s now%s",
            scope.ordinal, scope.name, begun.describe or begun.effect, begun.line or "?", describe(def, args), line or "?",
            begun.effect == def.name and begun.line == line and " with other arguments" or ""))
    end
    if ended and not cancelled then
        if ended.status == "failed" then
            error(engine.revive_error(ended.error), 0)
        elseif not ended.secret then
            return ended.value
        end
    elseif begun then
        local settled, value = settle(def, args, ctx, class, scope, math.max(begun_seq, ended_seq or 0), cancelled)
        if settled then
            return finish(def, args, key, host.mono(), (host.keep(value)))
        end
        scope.late = ctx.ended and key or nil
        if not ctx.adopting then
            begun = nil
            -- A command of that id would be adopted. What is no command finds by it what its predecessor has left.
            ctx.id = def.command and engine.slug(key) .. "-" .. begun_seq or ctx.id
        end
    end
    if not begun then
        local ok, err = pcall(door.open, args) -- before it begins: where that is broken off, nothing is in doubt
        if not ok then
            error(engine.interrupts(err) and err or blamed(err, def, line), 0)
        end
        engine.pause_point()
        engine.record("effect.begin", key, { effect = def.name, class = class, describe = describe(def, args), digest = digest,
            line = line, id = ctx.id })
    end
    engine.commit()
    local started = host.mono()
    local ok, value = pcall(perform, def, args, ctx, scope)
    if ok then
        return finish(def, args, key, started, value)
    end
    if type(value) == "table" and value.code == "in_doubt" then
        -- What it began may be done or not, as after a crash: its probe, the step's `done` or a person decides.
        local _, seq = host.recall("effect.begin", key)
        local settled, result = settle(def, args, ctx, class, scope, seq or 0, false, value.message)
        if settled then
            return finish(def, args, key, started, (host.keep(result)))
        end
        value = engine.error(value.detail or "lost", value.message) -- not done: a failure like any other
    end
    if engine.interrupts(value) or (type(value) == "table" and value.code == "guardian_lost") then
        if value.code ~= "guardian_lost" then
            engine.record("effect.end", key, { status = "cancelled", reason = value.message, ms = host.mono() - started })
            error(value, 0)
        end
        -- The guardian died with the command: what a crash of the host leaves as well.
        ctx.adopting = nil
        local settled, result = settle(def, args, ctx, class, scope, 0)
        if settled then
            return finish(def, args, key, started, (host.keep(result)))
        end
        scope.late = nil
        if ctx.again and not ctx.adopting then -- nothing of it lives, and twice is as good as once: what a resume would do
            scope.ordinal = scope.ordinal - 1
            return journaled(def, args, class, scope, line)
        end
        value = engine.error("guardian_lost", value.message .. "; resume the run to go on")
        value.control = true
        error(value, 0)
    end
    local err = blamed(value, def, line)
    engine.record("effect.end", key, { status = "failed", error = engine.plain_error(err), ms = host.mono() - started })
    error(err, 0)
end

--- Declares an effect (docs/design.md, "A module") and returns the function that a playbook calls.
function door.effect(def)
    local function outside(args, scope)
        local mode = host.run.mode
        if mode == "lua" then
            engine.serial = (engine.serial or 0) + 1
            return perform(def, args, context(scope, "lua." .. engine.serial, def), scope)
        end
        engine.own_task(def.name)
        refuse_place(def, scope)
        local class = class_of(def, args, scope)
        refuse_change(def, class, scope)
        local line = engine.blame()
        refuse_destruction(def, args, scope)
        if mode == "plan" then
            return engine.plan_effect(def, args, { class = class, describe = describe(def, args), line = line, scope = scope })
        end
        refuse_masked_fields(def, args, "", args)
        if scope.place == "check" then
            return measure(def, args, scope, line)
        end
        return journaled(def, args, class, scope, line)
    end
    local bounded = engine.boundary(outside)
    local function called(...)
        local scope = engine.scope()
        local args = def.args and def.args(...) or { ... }
        if scope.kind == "effect" then
            return nested(def, args, scope)
        end
        return bounded(args, scope)
    end
    return function(...)
        if engine.scope().kind ~= "procedure" then
            return called(...)
        end
        local given = table.pack(...)
        return engine.alone(def.name, function() return called(table.unpack(given, 1, given.n)) end)
    end
end

return door
