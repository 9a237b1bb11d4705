-- stage and parallel: what groups.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"
local unwind = require "lang.unwind"

-- ---- services: commands that run until their stage ends ----

--- Records that a service runs, to be ended with the stage around the present scope (the run, outside of any).
function engine.service(id)
    local stage = engine.enclosing("stage") or engine.enclosing("procedure")
    engine.record("service", id, { stage = stage and stage.key or "" })
end

-- From the journal, so that a resumed run ends the services of the process before it, too.
local function stop_services(key)
    for _, event in ipairs(host.history("service")) do
        if event.payload.stage == key and not host.recall("service.end", event.key) then
            local ok, err = pcall(engine.rt.stop_service, event.key)
            if not ok then
                host.say("warning", key, { text = "a service could not be stopped: " .. tostring(err) })
            end
            engine.record("service.end", event.key, {})
        end
    end
end

engine.stop_services = stop_services

local function undo_stage(scope, err)
    local armed = unwind.armed(scope)
    if #armed > 0 or host.recall("rollback.begin", scope.key) then
        host.task.clear()
        unwind.run(scope.key, err, armed)
    end
    err.policy = "stop"
    err.undone = scope.name
    error(err, 0)
end

-- What an earlier process undid of a stage, or began to, stays undone: it is replayed only as far as it came.
local function frozen_for(begun)
    if begun then
        local cause = engine.revive_error(begun.cause)
        cause.code, cause.control, cause.policy = "failed", true, "stage"
        engine.frozen = cause
        return cause
    end
end

local function check_lock(scope, opts)
    if opts.holds_lock == false and #unwind.armed(nil, true) > 0 then
        engine.fail("usage", string.format("stage %q: holds_lock = false lets other runs change what this one would undo: "
            .. "a compensation is registered already", scope.name))
    end
end

local function begin(scope, opts)
    check_lock(scope, opts)
    local begun, begun_seq = host.recall("stage.begin", scope.key)
    local ended, ended_seq = host.recall("stage.end", scope.key)
    if not begun then
        if engine.frozen then
            error(engine.frozen, 0)
        end
        engine.record("stage.begin", scope.key, { name = scope.name, line = scope.line, scope = scope.parent.key })
    elseif ended and ended.status ~= "failed" and ended_seq > begun_seq then
        return true
    end
    if not engine.frozen then
        local window = require "lang.window"
        if opts.before then
            window.countdown(scope.name, opts.before, opts.window and opts.window.tz)
        end
        if opts.window then
            -- What an earlier process measured of this stage, and the time to undo it, must still fit.
            local before = ended and ended.ms or 0
            return false, window.enter(scope.name, opts.window, before + (engine.rollback_budget or 0))
        end
    end
    return false
end

engine.verb("stage", function(name, opts, fn)
    opts, fn = options.verb("stage", name, opts, fn, { before = "duration", window = "table", holds_lock = "boolean" })
    local parent = engine.scope()
    if not parent.container then
        engine.fail("misplaced", string.format("stage %q stands inside %s %q: a body holds effects only", name, parent.kind,
            parent.name or ""))
    end
    local scope = engine.container("stage", name, engine.child_key(parent, name, opts.key),
        { line = engine.blame(), opts = opts, on_failure = opts.on_failure or parent.on_failure })
    local reason = engine.skip_reason(opts)
    if engine.mode() == "plan" then
        return engine.plan_stage(scope, fn, reason)
    end
    engine.own_task(string.format("stage %q", name))
    engine.pause_point()
    engine.check_order(parent, "stage", scope.key, scope.line)
    local recorded = host.recall("stage.end", scope.key)
    if recorded and recorded.status == "skipped" then
        return nil
    elseif reason and not host.recall("stage.begin", scope.key) then
        if engine.frozen then
            error(engine.frozen, 0)
        end
        engine.record("stage.begin", scope.key, { name = name, line = scope.line, scope = parent.key, skipped = true })
        engine.record("stage.end", scope.key, { status = "skipped", name = name, reason = reason })
        return nil
    end
    local started = host.mono()
    local was_ended
    local undone = not engine.frozen and frozen_for(host.recall("rollback.begin", scope.key))
    local result = table.pack(pcall(engine.within, scope, function()
        local open
        was_ended, open = begin(scope, opts)
        local limit = opts.timeout
        if open and open.deadline then
            local left = math.max(open.deadline - host.now(), 1)
            limit = math.min(limit or left, left)
        end
        return engine.stage_deadline(limit, string.format("stage %q", name), fn)
    end))
    if undone then
        result, engine.frozen = result[1] and { false, undone } or result, nil
    end
    if result[1] or not engine.passes_on(result[2]) or result[2].code == "failed" then
        stop_services(scope.key) -- a pause leaves them running
    end
    if result[1] then
        if not was_ended then
            engine.record("stage.end", scope.key, { status = "ok", name = name, ms = host.mono() - started })
        end
        return table.unpack(result, 2, result.n)
    end
    local err = result[2]
    if engine.passes_on(err) and err.code ~= "failed" then
        error(err, 0)
    end
    if not engine.passes_on(err) then -- the stage's own code, or its deadline
        local plain = engine.as_error(err)
        err = engine.error("failed", string.format("stage %q failed: %s", name, plain.message), { control = true,
            unit = scope.key, kind = "stage", policy = scope.on_failure, cause = plain, where = plain.where or scope.line })
    end
    local already = host.recall("stage.end", scope.key)
    if not already or not engine.frozen then
        engine.record("stage.end", scope.key, { status = "failed", name = name, ms = host.mono() - started,
            error = { code = "failed", message = err.message } })
    end
    if err.policy == "stage" then
        undo_stage(scope, err)
    end
    error(err, 0)
end)

local function branch_names(branches)
    if type(branches) ~= "table" or next(branches) == nil then
        engine.fail("usage", "parallel takes a table of functions: parallel{ api = function() … end, web = function() … end }")
    end
    local names = {}
    for name, fn in pairs(branches) do
        if type(name) ~= "string" or type(fn) ~= "function" then
            engine.fail("usage", string.format("parallel: every branch has a name and a function; [%s] is a %s", tostring(name),
                type(fn)))
        end
        names[#names + 1] = name
    end
    return names
end

--- Branches at once; the first failure cancels the rest; waits for all. With options they are a stage's.
engine.verb("parallel", function(branches, opts)
    if opts ~= nil then
        return engine.words.stage("parallel", opts, function() return engine.words.parallel(branches) end)
    end
    local parent = engine.scope()
    if not parent.container then
        engine.fail("misplaced", "parallel stands between steps, not inside one")
    end
    engine.own_task("parallel")
    local names, results = branch_names(branches), {}
    local scopes = {}
    for _, name in ipairs(names) do
        scopes[name] = engine.container("branch", name, engine.child_key(parent, name), { on_failure = parent.on_failure })
    end
    if engine.mode() == "plan" then
        for _, name in ipairs(names) do
            engine.plan_branch(scopes[name])
            results[name] = engine.within(scopes[name], branches[name])
        end
        return results
    end
    local functions = {}
    for i, name in ipairs(names) do
        functions[i] = function() return engine.within(scopes[name], branches[name]) end
    end
    local values = require "lang.together"(functions, function(i, err)
        return engine.error("sibling", string.format("cancelled: branch %q failed", names[i]), { control = true }),
            type(err) ~= "table" or err.code ~= "paused"
    end)
    for i, name in ipairs(names) do
        results[name] = values[i]
    end
    return results
end)
