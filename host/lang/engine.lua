-- The engine: scopes, durable units, replay. Every word of the language that leaves a trace is a unit; a run that is
-- resumed executes the playbook from its first line and each unit finds what is recorded of it under its key.
local host = require "lang.host"
local units = require "lang.units"

local task = host.task
local engine = { words = {}, run = host.run, rt = {} }
for name, fn in next, require "lang.errors" do
    engine[name] = fn
end
local error_metatable = host.error_metatable

--- "run" or "plan".
function engine.mode()
    return host.run.mode
end

-- ---- scopes ----

local root = { kind = "run", key = "", counts = {}, container = true, place = "pure", visited = 0 }

function engine.scope()
    local locals = task.locals()
    return locals and locals.scope or root
end

local function settle(cleanup, ok, ...)
    cleanup()
    if not ok then
        error((...), 0)
    end
    return ...
end

--- Runs fn(…) and then cleanup(), whether it returned or raised; its values or its error go on unchanged.
function engine.finally(cleanup, fn, ...)
    return settle(cleanup, pcall(fn, ...))
end

local function closed(scope, ok, ...)
    local ending = rawget(scope, "ending")
    scope.ending = nil
    if ending or not ok then
        error(ending or (...), 0)
    end
    return ...
end

--- Runs fn(…), playbook's code. A control error that left a word or an effect in there ends it, also where a __close
--- handler or coroutine.close() put something else into its place.
function engine.closed(fn, ...)
    return closed(engine.scope(), pcall(fn, ...))
end

local function left(scope, ok, ...)
    if ok then
        return ...
    end
    local err = ...
    if host.run.mode == "run" and engine.is_control(err) then
        scope.ending = err
    elseif debug.getmetatable(err) == error_metatable and not err.where then
        err.where = engine.blame()
    end
    error(err, 0)
end

--- A function for playbooks: a control error that leaves it is the end of the scope it was called in, and nothing
--- more is begun there.
function engine.boundary(fn)
    return function(...)
        local scope = engine.scope()
        local ending = rawget(scope, "ending")
        if ending then
            error(ending, 0)
        end
        return left(scope, pcall(fn, ...))
    end
end

--- Runs fn(…) with `scope` as the task's scope.
function engine.within(scope, fn, ...)
    local locals = task.locals()
    local old = rawget(locals, "scope")
    locals.scope = scope
    return engine.finally(function() locals.scope = old end, engine.closed, fn, ...)
end

--- Refuses what a coroutine of the playbook's own cannot do: it would yield to the wrong one.
function engine.own_task(what)
    if not task.in_task() then
        engine.fail("misplaced", what .. " cannot be awaited inside a coroutine of your own: use parallel{…}")
    end
end

--- A scope that holds units of its own: a stage, a branch, a compensation's procedure.
function engine.container(kind, name, key, fields)
    local scope = { kind = kind, name = name, key = key, counts = {}, container = true, place = "pure", visited = 0,
        parent = engine.scope() }
    for field, value in next, fields or {} do
        scope[field] = value
    end
    return scope
end

--- The innermost scope of that kind around the present one, or nil.
function engine.enclosing(kind)
    local scope = engine.scope()
    while scope and scope.kind ~= kind do
        scope = scope.parent
    end
    return scope
end

function engine.child_key(parent, name, explicit)
    engine.any_begun = true
    local shown, altered = host.keep(explicit == nil and name or name .. "[" .. tostring(explicit) .. "]")
    if altered then -- a key that is masked would no longer be one, and it names files as well
        engine.fail("masked", string.format("the name %q holds a secret, and names stand everywhere: take another", shown))
    elseif name:find("\0", 1, true) then
        engine.fail("usage", string.format("the name %q has a NUL byte", name))
    end
    name = name:gsub("/", "∕")
    if explicit ~= nil then
        name = name .. "[" .. tostring(explicit) .. "]"
    end
    local count = (parent.counts[name] or 0) + 1
    parent.counts[name] = count
    if explicit ~= nil and count > 1 then
        engine.fail("usage", string.format("the key %q is used twice in %q: give each its own", tostring(explicit),
            parent.key))
    end
    local key = parent.key == "" and name or parent.key .. "/" .. name
    return count > 1 and key .. "#" .. count or key
end

-- ---- the journal ----

function engine.record(kind, key, payload)
    if host.run.mode == "plan" then
        return 0
    end
    return host.append(kind, key, payload)
end

function engine.recall(kind, key)
    return host.recall(kind, key)
end

function engine.commit()
    if host.run.mode ~= "plan" then
        host.commit()
    end
end

--- Records that a verb which is no unit was left out, and why.
function engine.skipped(key, what, reason)
    if host.run.mode ~= "plan" and not host.recall("note", key) then
        engine.record("note", key, { text = what .. " is skipped: " .. reason, line = engine.blame() })
    end
end

--- A recorded read of something that changes (the time, a variable): the first answer is the run's answer.
function engine.observe(kind, produce)
    if host.run.mode == "plan" then
        return produce()
    end
    local scope = engine.scope()
    local slot = "@" .. kind
    scope.counts[slot] = (scope.counts[slot] or 0) + 1
    local key = scope.key .. slot .. "#" .. scope.counts[slot]
    local seen = host.recall("observe", key)
    if seen then
        return seen.value
    end
    local value = host.keep(produce())
    engine.record("observe", key, { value = value })
    return value
end

--- While the inbox is not watched yet: lets the task that takes what lies there come first.
function engine.look_early()
    if host.inbox_early() then
        task.sleep(0)
    end
end

--- Raises what was asked of this task meanwhile (pause, rollback, a sibling's failure). Called before each effect.
function engine.pause_point()
    engine.look_early()
    local asked = task.cancelled()
    if asked then
        error(asked, 0)
    end
end

--- Waits by fn() and says meanwhile what for, and until when (wall ms, or nil).
function engine.idle(what, until_ms, fn)
    local key = engine.scope().key
    local facts = type(what) == "table" and what or { ["for"] = what }
    facts["until"] = until_ms
    host.say("waiting", key, facts)
    local function over() host.say("waiting.end", key, {}) end
    local stage = engine.enclosing("stage")
    if stage and stage.opts.holds_lock == false and not engine.enclosing("effect") then
        return engine.finally(over, engine.without_lock, fn)
    end
    return engine.finally(over, fn)
end

-- ---- replay ----

-- What was recorded before this process began, in order, by the scope it happened in: a replay must do the same.
local expected

-- Whatever says `scope` in its begin event has a place in the order of that scope.
local ORDERED = { "stage", "step", "gate", "soak", "wait", "approve", "confirm", "checklist", "notify", "note", "attach" }

local function load_expected()
    expected = {}
    for _, kind in ipairs(ORDERED) do
        for _, event in ipairs(host.history(kind .. ".begin")) do
            if event.replayed and event.payload.scope then
                local list = expected[event.payload.scope] or {}
                expected[event.payload.scope] = list
                list[#list + 1] = { key = event.key, kind = kind, seq = event.seq, line = event.payload.line }
            end
        end
    end
    for _, list in pairs(expected) do
        table.sort(list, function(a, b) return a.seq < b.seq end)
        -- A retried unit begins again under the same key: the first time is its place in the order.
        local seen, unique = {}, {}
        for _, entry in ipairs(list) do
            if not seen[entry.key] then
                seen[entry.key] = true
                unique[#unique + 1] = entry
            end
        end
        list.unique = unique
    end
end

function engine.diverged(what)
    engine.fail("divergence", what .. ". The playbook decides by something that a run does not record: "
        .. "take it from a step's result, from inputs, or from run.now()")
end

function engine.check_order(parent, kind, key, line)
    if not host.run.resumed then
        return
    end
    if not expected then
        load_expected()
    end
    local list = expected[parent.key]
    parent.visited = parent.visited + 1
    local entry = list and list.unique[parent.visited]
    if not entry then
        return
    end
    if entry.key ~= key or entry.kind ~= kind then
        engine.diverged(string.format("the recorded run came to %s %q (%s) here, this replay comes to %s %q (%s)",
            entry.kind, entry.key, entry.line or "?", kind, key, line or "?"))
    end
    if entry.line and line and entry.line ~= line then
        engine.diverged(string.format("%s %q was recorded at %s and is at %s in this replay", kind, key, entry.line, line))
    end
end

-- ---- failure ----

--- Set while a recorded failure is being replayed on the way to its unwinding: nothing new is begun then, and the first
--- unit without a recorded end raises it.
engine.frozen = nil

local function failed(scope, err, policy)
    return engine.error("failed", string.format("%s %q failed: %s", scope.kind, scope.name, err.message), {
        control = true, unit = scope.key, kind = scope.kind, policy = policy, cause = err, where = err.where or scope.line,
    })
end

local PASS_ON = { paused = true, doubt = true, divergence = true, rollback = true, abort = true, failed = true, sibling = true,
    journal = true, stopped = true, stuck = true, guardian_lost = true }

--- True for errors that end a unit without being its failure.
function engine.passes_on(err)
    return engine.is_control(err) and PASS_ON[err.code] or false
end

--- True for those and for a deadline around the unit: what is in flight is over, and nothing is to be made of it.
function engine.interrupts(err)
    return engine.passes_on(err) or type(err) == "table" and err.code == "deadline"
end

local function skip_reason(opts)
    if opts.when ~= nil and not opts.when then
        return "when is false"
    end
    if opts.only then
        local environments = type(opts.only) == "table" and opts.only or { opts.only }
        for _, name in ipairs(environments) do
            if name == host.run.environment then
                return nil
            end
        end
        return "only in " .. table.concat(environments, ", ")
    end
end

engine.skip_reason = skip_reason

local function decided(scope, spec)
    local decision, seq, _, replayed = host.recall("decision", scope.key)
    if not decision or (replayed and decision.choice == "stop") then -- it has stopped; whoever resumes wants it tried again
        return nil
    end
    local _, begun = host.recall(scope.kind .. ".end", scope.key)
    if begun and begun > seq then
        return nil -- made for an earlier end of this unit
    end
    if decision.choice == "rollback" then
        error(engine.error("rollback", "decided: roll back", { control = true, policy = "rollback" }), 0)
    elseif decision.choice == "stop" then
        error(engine.error("stopped", "decided: stop", { control = true, policy = "stop" }), 0)
    elseif decision.choice == "skip" and spec.opts.required then
        return nil -- what is required cannot be skipped
    end
    return decision
end

local has_begun = {}

--- True if a step of that name has begun in this run: `run.begun`.
function engine.has_begun(name)
    return has_begun[name] or false
end

local function common_options(spec)
    local opts = spec.opts or {}
    spec.opts = opts
    if type(opts.timeout) == "string" then
        local ms, why = units.duration(opts.timeout)
        opts.timeout = ms or engine.fail("usage", string.format("%s %q: timeout: %s", spec.kind, tostring(spec.name), why))
    end
end

--- Where the decision is that a unit is done or left out, records that as its end. scope = { key, name }. Returns true and
--- its result, or false: the decision is another one.
function engine.end_as_decided(kind, scope, decision)
    if decision.choice ~= "done" and decision.choice ~= "skip" then
        return false
    end
    engine.record(kind .. ".end", scope.key, { status = decision.choice == "done" and "ok" or "skipped", name = scope.name,
        value = decision.result, reason = decision.reason, by = decision.by })
    return true, decision.result
end

local function ask(scope, spec, err)
    local choice = engine.ask(scope, err, spec.opts)
    if choice.choice == "retry" then
        return false
    end
    local over, result = engine.end_as_decided(spec.kind, scope, choice)
    if over then
        return true, result
    end
    error(failed(scope, err, choice.choice), 0)
end

--- Handles a unit's failure by its policy: returns true, value where the run goes on, else raises.
local function on_failure(scope, spec, err, started)
    local policy = spec.opts.on_failure or scope.parent.on_failure
    if policy == "stage" and not engine.enclosing("stage") then
        policy = nil
    end
    engine.record(spec.kind .. ".end", scope.key, { status = "failed", name = scope.name, error = engine.plain_error(err),
        policy = policy, ms = host.mono() - started })
    if policy == "alert" then
        engine.commit()
        engine.alert(scope, err)
        return true
    end
    if policy == "ask" then
        return ask(scope, spec, err)
    end
    error(failed(scope, err, policy), 0)
end

--- One durable unit. spec = { kind, name, opts, run = function(scope) → value, replay = function(ended) → again?,
--- facts = table for the begin event, place = "pure"|"effects"|"check" inside, entered = function(scope, seq) called when the unit
--- is or was begun, own_timeout = true where run() applies opts.timeout itself }.
function engine.unit(spec)
    common_options(spec)
    local parent = engine.scope()
    local opts = spec.opts
    local line = engine.blame()
    if type(spec.name) ~= "string" or spec.name == "" then
        engine.fail("usage", spec.kind .. " needs a name as its first argument")
    end
    if not parent.container then
        engine.fail("misplaced", string.format("%s %q stands inside %s %q: a body holds effects only; write it beside it",
            spec.kind, spec.name, parent.kind, parent.name or parent.key))
    end
    engine.own_task(string.format("%s %q", spec.kind, spec.name))
    local key = engine.child_key(parent, spec.name, opts.key)
    local scope = { kind = spec.kind, key = key, name = spec.name, line = line, opts = opts, parent = parent, counts = {},
        place = spec.place or "pure", log = engine.log_path(key) }
    if host.run.mode == "plan" then
        return engine.plan_unit(spec, scope, skip_reason(opts))
    end
    engine.pause_point()
    engine.check_order(parent, spec.kind, key, line)
    local ended, ended_seq = host.recall(spec.kind .. ".end", key)
    local begun, begun_seq = host.recall(spec.kind .. ".begin", key)
    if spec.kind == "step" and begun and not begun.skipped then
        engine.stepped(begun_seq)
    end
    if ended and begun_seq and begun_seq > ended_seq then
        ended = nil -- begun again after that end
    end
    local function entered(...)
        if spec.kind == "step" then
            has_begun[spec.name] = true
        end
        if spec.entered then
            spec.entered(...)
        end
    end
    if begun and not begun.skipped then
        entered(scope, begun_seq)
    end
    if ended then
        if ended.status == "ok" or ended.status == "skipped" then
            if ended.status == "skipped" or engine.frozen or not (spec.replay and spec.replay(ended, scope)) then
                return ended.value
            end
        elseif ended.policy == "alert" then
            return nil
        elseif engine.frozen then -- an operator's word outweighs the failure that the run had stopped with
            error(engine.frozen.operator and engine.frozen
                or failed(scope, engine.revive_error(ended.error), ended.policy), 0)
        end
    end
    if engine.frozen then
        error(engine.frozen, 0)
    end
    local decision = decided(scope, spec)
    if decision then
        local over, result = engine.end_as_decided(spec.kind, scope, decision)
        if over then
            return result
        end
    end
    if ended and ended.status == "failed" then
        scope.retried = true
        local _, decided_seq = host.recall("decision", key)
        if ended.policy == "ask" and (decided_seq or 0) < ended_seq then -- nobody has decided yet
            local go_on, result = ask(scope, spec, engine.revive_error(ended.error))
            if go_on then
                return result
            end
        end
    end
    local reason = not begun and skip_reason(opts)
    if reason then
        engine.record(spec.kind .. ".begin", key, { name = spec.name, line = line, scope = parent.key, skipped = true })
        engine.record(spec.kind .. ".end", key, { status = "skipped", name = spec.name, reason = reason })
        return nil
    end
    while true do
        local started = host.mono()
        local fresh = not begun or ended ~= nil
        if fresh then
            local facts = { name = spec.name, line = line, scope = parent.key }
            for field, value in next, spec.facts or {} do
                facts[field] = value
            end
            begun_seq = engine.record(spec.kind .. ".begin", key, facts)
            if spec.kind == "step" then
                engine.stepped(begun_seq)
            end
            if not begun then
                entered(scope, begun_seq)
            end
        end
        scope.resumed = not fresh
        local ok, value = pcall(engine.deadline, not spec.own_timeout and opts.timeout or nil,
            string.format("%s %q", spec.kind, spec.name), engine.within, scope, spec.run, scope)
        local kept, altered
        if ok then
            ok, kept, altered = pcall(host.keep, value)
            value = not ok and kept or value
        end
        if ok then
            if altered and spec.kind == "step" then
                host.say("warning", key, { text = "a secret in the result was masked" })
            end
            engine.record(spec.kind .. ".end", key, { status = "ok", name = spec.name, value = kept,
                ms = host.mono() - started })
            return kept
        end
        if engine.interrupts(value) then
            error(value, 0)
        end
        local go_on, result = on_failure(scope, spec, engine.as_error(value), started)
        if go_on then
            return result
        end
        begun, ended = {}, { status = "failed" }
        scope.retried = true
        scope.counts = {}
    end
end

--- The log of a unit: file names are made of its key, with a digest where that loses something.
function engine.log_path(key)
    local dir = host.run.run_dir
    return dir and dir .. "/log/" .. engine.slug(key) .. ".log"
end

function engine.slug(key)
    local slug = key:lower():gsub("[^%w]+", "-"):gsub("^%-+", ""):gsub("%-+$", ""):sub(1, 60)
    return slug .. "-" .. host.sha256(key):sub(1, 8)
end

--- Makes a word of the language: a global of every playbook.
function engine.verb(name, fn)
    engine.words[name] = fn
end

--- Runs fn where only read effects are allowed. Returns ok, values…; a failure is returned, control errors pass.
function engine.check_place(fn, ...)
    local around = engine.scope()
    local scope = setmetatable({ place = "check", container = false, counts = {}, parent = around }, { __index = around })
    local upvalues = require "lang.upvalues"
    local held = upvalues.collect(fn)
    local result = table.pack(pcall(engine.within, scope, fn, ...))
    upvalues.check(around, held)
    if not result[1] then
        local err = result[2]
        if engine.interrupts(err) then
            error(err, 0)
        end
        return false, engine.as_error(err)
    end
    return table.unpack(result, 1, result.n)
end

return engine
