-- Compensations: what undoes what was done. Registered by rollback() and by a step's undo, armed when a later step begins,
-- dropped by commit(), unwound last in, first out.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"

local unwind = { list = {} }

local last_step = 0 -- the newest step's begin: what was registered before it is armed
local dropped_before = 0

--- Told of every step that begins or is found begun.
function engine.stepped(seq)
    if not unwind.unwinding and seq > last_step then
        last_step = seq
    end
end

local function add(compensation)
    compensation.stage = engine.enclosing("stage")
    unwind.list[#unwind.list + 1] = compensation
    return compensation
end

function unwind.register_undo(scope, seq, fn)
    return add { kind = "undo", name = "undo " .. scope.name, key = scope.key .. "!undo", seq = seq, fn = fn, step = scope }
end

engine.verb("rollback", function(name, opts, fn)
    opts, fn = options.verb("rollback", name, opts, fn, { budget = "duration" })
    local parent = engine.scope()
    if not parent.container or unwind.unwinding then
        engine.fail("misplaced", string.format("rollback %q stands inside %s %q: register it beside the steps it undoes", name,
            parent.kind, parent.name or ""))
    end
    local reason = engine.skip_reason(opts)
    local key = engine.child_key(parent, name .. "!rollback", opts.key)
    if engine.mode() == "plan" then
        return engine.plan_compensation { name = name, line = engine.blame(), fn = fn, reason = reason, key = key }
    end
    if reason then
        return engine.skipped(key, string.format("rollback %q", name), reason)
    end
    local _, seq = host.recall("rollback.register", key)
    if not seq and engine.frozen then
        error(engine.frozen, 0)
    end
    seq = seq or engine.record("rollback.register", key, { name = name, line = engine.blame(), budget = opts.budget })
    add { kind = "rollback", name = name, key = key, seq = seq, fn = fn, opts = opts, line = engine.blame() }
end)

--- The point of no return: drops what is registered so far, by name.
engine.verb("commit", function(name, opts)
    if type(name) ~= "string" or name == "" then
        engine.fail("usage", 'commit needs a name: commit("traffic is on the new version")')
    end
    local parent = engine.scope()
    if not parent.container then
        engine.fail("misplaced", "commit stands between steps, not inside one")
    end
    opts = options.check(opts, { when = "any", only = "string|table", key = "string|integer" }, string.format("commit %q", name))
    local key = engine.child_key(parent, name .. "!commit", opts.key)
    local reason = engine.skip_reason(opts)
    if reason then
        return engine.skipped(key, string.format("commit %q", name), reason)
    end
    if engine.mode() == "plan" then
        return host.say("plan", key, { kind = "commit", name = name, line = engine.blame() })
    end
    local _, seq = host.recall("rollback.drop", key)
    if not seq then
        if engine.frozen then
            error(engine.frozen, 0)
        end
        local names = {}
        for _, compensation in ipairs(unwind.list) do
            if compensation.seq > dropped_before then
                names[#names + 1] = compensation.name
            end
        end
        seq = engine.record("rollback.drop", key, { name = name, line = engine.blame(), dropped = host.json.array(names) })
        engine.commit()
    end
    dropped_before = seq
end)

--- The armed compensations, newest first; within: only those registered in that stage. all: armed or not, of a run that
--- had ended.
function unwind.armed(within, all)
    local armed = {}
    for _, compensation in ipairs(unwind.list) do
        local is_armed = compensation.kind == "undo" or compensation.seq < last_step or all
        local inside = not within
        local stage = compensation.stage
        while stage and not inside do
            inside = stage == within
            stage = stage.parent
            while stage and stage.kind ~= "stage" do
                stage = stage.parent
            end
        end
        if is_armed and inside and compensation.seq > dropped_before and not compensation.finished then
            armed[#armed + 1] = compensation
        end
    end
    table.sort(armed, function(a, b) return a.seq > b.seq end)
    return armed
end

--- True once any step has begun: the world may have changed.
function unwind.changed()
    return last_step > 0
end

--- A step that the playbook has not written: an undo's body, and an effect that stands by itself in a compensation or a
--- hook, so that it is recorded, and settled after a crash, like any other.
function engine.alone(name, body)
    return engine.words.step(name, { timeout = "30m" }, body)
end

local function procedure(compensation)
    local opts = compensation.opts or {}
    local scope = engine.container("procedure", compensation.name, compensation.key, { on_failure = opts.on_failure })
    scope.parent = nil
    engine.deadline(opts.timeout, string.format("rollback %q", compensation.name), engine.within, scope, function()
        if compensation.kind == "undo" then
            engine.alone(compensation.name, function() return compensation.fn(compensation.result) end)
        else
            compensation.fn()
        end
    end)
    engine.stop_services(compensation.key)
end

local function budget_note(compensation, ms)
    local budget = compensation.opts and compensation.opts.budget
    if budget and ms > budget then
        host.say("warning", compensation.key, { text = string.format("%s took longer than its budget", compensation.name) })
    end
end

local function one(compensation)
    local ended = host.recall("compensation.end", compensation.key)
    if ended and (ended.status == "ok" or ended.status == "skipped") then
        compensation.finished = true
        return
    end
    local decision, decided_seq = host.recall("decision", compensation.key)
    local _, ended_seq = host.recall("compensation.end", compensation.key)
    if decision and decided_seq > (ended_seq or 0) and engine.end_as_decided("compensation", compensation, decision) then
        compensation.finished = true
        return
    end
    if not host.recall("compensation.begin", compensation.key) or ended then
        engine.record("compensation.begin", compensation.key, { name = compensation.name, line = compensation.line,
            kind = compensation.kind })
    end
    local started = host.mono()
    local ok, err = pcall(procedure, compensation)
    local ms = host.mono() - started
    if ok then
        engine.record("compensation.end", compensation.key, { status = "ok", name = compensation.name, ms = ms })
        engine.commit()
        compensation.finished = true
        return budget_note(compensation, ms)
    end
    if type(err) == "table" and (err.code == "paused" or err.code == "doubt" or err.code == "divergence"
        or err.code == "journal" or err.code == "guardian_lost") then
        error(err, 0)
    end
    local plain = engine.plain_error(err)
    engine.record("compensation.end", compensation.key, { status = "failed", name = compensation.name, error = plain, ms = ms })
    engine.commit()
    error(engine.error("stuck", string.format("the rollback stopped in %q: %s", compensation.name, plain.message),
        { control = true, key = compensation.key, cause = engine.as_error(err), where = plain.where }), 0)
end

--- Unwinds. key: "" for the run, or a stage's. cause: the error that led here. Raises "stuck" where one fails.
function unwind.run(key, cause, armed)
    local begun = host.recall("rollback.begin", key)
    local names, chosen = {}, {}
    if begun then -- what was armed then is unwound now, whatever this replay came to
        local wanted = {}
        for _, each in ipairs(begun.armed) do
            wanted[each] = true
        end
        for _, compensation in ipairs(unwind.list) do
            if wanted[compensation.key] then
                chosen[#chosen + 1] = compensation
            end
        end
        table.sort(chosen, function(a, b) return a.seq > b.seq end)
    else
        chosen = armed
        for i, compensation in ipairs(armed) do
            names[i] = compensation.key
        end
        engine.record("rollback.begin", key, { cause = engine.plain_error(cause), armed = host.json.array(names) })
        engine.commit()
    end
    local frozen, unwinding = engine.frozen, unwind.unwinding
    engine.frozen, unwind.unwinding = nil, true
    local started = host.mono()
    local ok, err = pcall(function()
        for _, compensation in ipairs(chosen) do
            one(compensation)
        end
    end)
    engine.frozen, unwind.unwinding = frozen, unwinding
    if not ok then
        error(err, 0)
    end
    local ended = host.recall("rollback.end", key)
    if not ended then
        engine.record("rollback.end", key, { status = "ok", count = #chosen, ms = host.mono() - started,
            budget = engine.rollback_budget })
        engine.commit()
    end
end

return unwind
