-- A run from its first line to its end: plays the playbook, and decides what follows from how that went.
local host = require "lang.host"
local engine = require "lang.engine"
local environment = require "lang.environment"
local unwind = require "lang.unwind"
require "lang.rt"
require "lang.step"
require "lang.stage"
require "lang.header"
require "lang.later"

local main = {}

local EXIT = { succeeded = 0, stopped = 1, usage = 2, rolled_back = 3, stuck = 4, paused = 5, locked = 6, doubt = 7, journal = 8 }

-- ---- hooks ----

local hooks = { rolled_back = {}, succeeded = {}, failed = {}, finished = {} }
local on = {}
for name, list in pairs(hooks) do
    on[name] = function(fn)
        if type(fn) ~= "function" then
            engine.fail("usage", "on." .. name .. " takes a function")
        elseif engine.any_begun then
            engine.fail("usage", string.format("on.%s stands after the first stage or step: a run that fails before this line "
                .. "would not know of it. Put it above them", name))
        end
        list[#list + 1] = fn
    end
end

engine.words.on = setmetatable(on, { __index = function(_, key)
    local hint = host.suggest(tostring(key), { "rolled_back", "succeeded", "failed", "finished" })
    engine.fail("usage", string.format("there is no on.%s%s", tostring(key), hint and ": " .. hint or ""))
end })

local function run_hooks(name, outcome)
    engine.frozen = nil -- the replay is over: what a hook says has not been said yet
    for i, fn in ipairs(hooks[name]) do
        local key = string.format("on.%s#%d", name, i)
        if not host.recall("hook.end", key) then
            engine.record("hook.begin", key, { name = "on." .. name })
            local scope = engine.container("procedure", "on." .. name, key)
            scope.parent = nil
            local ok, err = pcall(engine.within, scope, fn, outcome)
            if not ok and engine.is_control(err) and (err.code == "doubt" or err.code == "paused" or err.code == "journal") then
                error(err, 0)
            end
            engine.record("hook.end", key, ok and { status = "ok" } or { status = "failed", error = engine.plain_error(err) })
        end
    end
end

-- ---- the beginning ----

-- Another run's lock is waited for with --wait, and where this run had it before; a record that somebody has to remove
-- never is.
local function take_lock(take, wait)
    while true do
        local ok, err = pcall(take)
        if ok then
            return
        elseif err.code ~= "locked" or not wait or (err.detail and err.detail.record) then
            error(err, 0)
        end
        host.say("waiting", "", { ["for"] = err.message })
        host.task.sleep(1000)
        host.say("waiting.end", "", {})
        engine.pause_point()
    end
end

local released = 0 -- waits under way that have let go of the lock

--- Runs fn(), a wait, without the environment's lock; it is taken again afterwards, also where fn raises.
function engine.without_lock(fn)
    released = released + 1
    if released == 1 then
        host.unlock()
    end
    return engine.finally(function()
        released = released - 1
        if released == 0 then
            take_lock(host.relock, true)
        end
    end, fn)
end

--- Called by the header once it is checked: takes the environment's lock and makes the run durable.
--- header = { name, title, environment, protected, deny, budget, inputs (public values), facts }
function engine.begin(header)
    engine.header = header
    engine.protected = header.protected
    engine.deny = header.deny
    engine.rollback_budget = header.budget
    host.run.environment = header.environment
    if host.run.mode == "plan" then
        return
    end
    take_lock(function() host.begin(header.name, header.environment) end, host.run.wait)
    if not host.recall("run.start", "") then
        local run = host.run
        engine.record("run.start", "", {
            id = run.id, name = header.name, title = header.title, playbook = run.playbook, environment = header.environment,
            protected = header.protected, inputs = header.inputs, operator = run.operator, host = run.host, version = host.version,
            start_dir = run.start_dir, emergency = run.emergency, at = run.at, env_file = run.env_file,
            roles_file = run.roles_file, roles = header.roles, module_path = environment.module_path(),
        })
    end
    if host.run.resumed then
        host.unhold() -- the record of an earlier stop of this run
        engine.record("run.resume", "", { intent = host.run.intent, operator = host.run.operator, reason = host.run.reason })
    end
    engine.commit()
    main.take_inbox()
    main.listen()
end

-- ---- messages to a run: pause, rollback, abort, decide ----

local function operator_error(kind, message)
    local who = message.by and message.by.name or "?"
    local reason = message.data and message.data.reason
    local code = kind == "pause" and "paused" or kind
    return engine.error(code, string.format("%s asked for by %s%s", kind, who, reason and ": " .. reason or ""),
        { control = true, policy = kind == "rollback" and "rollback" or nil, by = message.by })
end

local function pending_key()
    local newest
    for _, kind in ipairs { "doubt", "compensation.end", "step.end", "gate.end", "soak.end", "approve.end", "confirm.end",
        "checklist.end" } do
        for _, event in ipairs(host.history(kind)) do
            local failed = event.payload.status == "failed" and (kind == "compensation.end" or event.payload.policy == "ask")
            if (kind == "doubt" or failed) and (not newest or event.seq > newest.seq) then
                newest = event
            end
        end
    end
    return newest and newest.key
end

local function take_decision(message)
    local data = message.data or {}
    local key = data.key or data.effect or engine.undecided() or pending_key()
    if not key then
        return host.say("warning", "", { text = "a decision came, and nothing is in doubt" })
    end
    for _, event in ipairs(host.history("doubt")) do -- by the step's or effect's name as well
        if event.payload.unit == key or event.payload.name == key then
            key = event.key
        end
    end
    engine.record("decision", key, { choice = data.choice, reason = data.reason, result = data.result, by = message.by })
end

local OWN = { pause = true, rollback = true, abort = true, decide = true }

--- Takes what lies in the inbox and is meant for the run itself; true if there was anything.
function main.take_inbox()
    local took = false
    for _, message in ipairs(host.inbox()) do
        if OWN[message.kind] then
            took = true
            if message.kind == "decide" then
                take_decision(message)
            else
                engine.record("inbox", "", { kind = message.kind, by = message.by, data = message.data })
                local err = operator_error(message.kind, message)
                if message.kind == "rollback" then
                    engine.asked_rollback = err
                end
                if main.task then
                    host.task.cancel(main.task, err, message.kind == "abort")
                end
            end
            engine.commit()
            host.inbox_done(message.file)
            if message.kind == "decide" then
                engine.on_decision()
            end
        end
    end
    return took
end

function main.listen()
    if main.listener then
        return
    end
    main.listener = host.task.spawn(function()
        while true do
            host.inbox_wait()
            -- A file that comes while another is being taken wakes nobody: look until there is none.
            while main.take_inbox() do end
        end
    end)
end

-- ---- the end ----

local function summary(status, cause, more)
    local facts = { status = status, exit = EXIT[status], error = cause and engine.plain_error(cause) or nil }
    if cause and not cause.unit and cause.code ~= "fail" and facts.error.where then
        facts.error.message = facts.error.where .. ": " .. facts.error.message -- no step's line says where
    end
    for key, value in pairs(more or {}) do
        facts[key] = value
    end
    return facts
end

local function finish(status, cause, more)
    if engine.at_end and status ~= "usage" then
        engine.frozen = nil -- as in run_hooks
        engine.at_end(more and more.aborted and "aborted" or status)
    end
    engine.record("run.end", "", summary(status, cause, more))
    engine.commit()
    return EXIT[status]
end

local function leave(status, cause)
    engine.record("run.pause", "", summary(status, cause))
    engine.commit()
    return EXIT[status]
end

local function hold(reason)
    if engine.header then
        host.hold((reason:match("^[^\n]*"):gsub(":$", ""))) -- who is refused reads one line
    end
end

local after -- (err) → exit code; may be called again for an error that comes while unwinding

local function rolled_back(cause)
    local outcome = { status = "rolled_back", cause = cause and cause.message }
    run_hooks("rolled_back", outcome)
    run_hooks("failed", outcome)
    run_hooks("finished", outcome)
    if engine.protected then
        hold("rolled back: " .. (cause and cause.message or "?"))
    end
    return finish("rolled_back", cause)
end

local function roll_back(cause, all)
    host.task.clear()
    local ok, err = pcall(function()
        unwind.run("", cause, unwind.armed(nil, all))
        return rolled_back(cause)
    end)
    if ok then
        return err
    end
    if type(err) == "table" and err.code == "stuck" then
        hold("its rollback is stuck in " .. tostring(err.key))
        engine.frozen = nil -- as in run_hooks: the escalation is new
        pcall(engine.escalate, err)
        return leave("stuck", err)
    end
    return after(err)
end

local function stopped(cause)
    host.task.clear()
    local changed = unwind.changed()
    if changed then
        hold("stopped after a change, to be resumed, rolled back or aborted: " .. cause.message:match("[^\n]*"))
    end
    local outcome = { status = "stopped", cause = cause.message }
    local ok, err = pcall(function()
        run_hooks("failed", outcome)
        run_hooks("finished", outcome)
    end)
    if not ok then
        return after(err)
    end
    return leave("stopped", cause)
end

function after(err)
    err = engine.as_error(err)
    local code = err.code
    if not engine.header then
        host.failed(code == "locked" and "locked" or "usage", tostring(err), err.code)
        return code == "locked" and EXIT.locked or EXIT.usage
    end
    if code == "locked" then
        host.failed("locked", tostring(err), err.code)
        return EXIT.locked
    elseif code == "paused" then
        return leave("paused", err)
    elseif code == "doubt" or code == "guardian_lost" then
        return leave("doubt", err)
    elseif code == "divergence" or code == "journal" then
        host.failed("journal", tostring(err), err.code)
        if code == "divergence" then
            leave("journal", err)
        end
        return EXIT.journal
    elseif code == "abort" then
        host.task.clear()
        run_hooks("finished", { status = "aborted", cause = err.message })
        host.unhold()
        return finish("stopped", err, { aborted = true })
    end
    if not engine.any_begun and not host.run.resumed and not engine.passes_on(err) and code ~= "fail" then
        return finish("usage", err) -- the playbook does not load: nothing was done, and a resume would come here again
    end
    local policy = err.policy
    if engine.frozen and host.recall("rollback.begin", "") then
        policy = "rollback"
    end
    if policy ~= "stop" and (policy == "rollback" or #unwind.armed() > 0) then
        return roll_back(err)
    end
    return stopped(err)
end

local function succeeded(value)
    -- A rollback of a run that had come to its end, or one that was asked for while its last step ran.
    if engine.frozen or engine.asked_rollback or host.run.intent == "rollback" then
        return roll_back(engine.asked_rollback or engine.frozen, true)
    end
    local outcome = { status = "succeeded" }
    local kept = value ~= nil and host.keep(value) or nil
    run_hooks("succeeded", outcome)
    run_hooks("finished", outcome)
    engine.stop_services("")
    return finish("succeeded", nil, { result = kept })
end

-- What an earlier process left: a failure that is being unwound is replayed, not tried again.
local function prepare()
    local run = host.run
    if not run.resumed then
        return
    end
    local begun, begun_seq = host.recall("rollback.begin", "")
    if begun then
        engine.frozen = engine.revive_error(begun.cause)
        engine.frozen.control, engine.frozen.policy = true, "rollback"
        if engine.frozen.code ~= "rollback" then
            engine.frozen.code = "failed"
        end
    elseif run.intent == "rollback" or run.intent == "abort" then
        local who = run.operator or "?"
        engine.frozen = engine.error(run.intent, string.format("%s asked for by %s%s", run.intent, who,
            run.reason and ": " .. run.reason or ""), { control = true, operator = true,
            policy = run.intent == "rollback" and "rollback" or nil })
    end
    return begun_seq
end

--- Task 0. Returns the exit code.
function main.run()
    main.task = host.task.root()
    prepare()
    environment.build()
    local result = table.pack(pcall(engine.closed, environment.play, host.run.playbook))
    pcall(engine.look_early) -- a rollback that was asked for meanwhile
    if result[1] and not engine.header then
        result = { false, engine.error("usage", host.run.playbook .. ' declares no playbook: begin it with playbook "name" { … }') }
    end
    if host.run.mode == "plan" then
        if not result[1] then
            host.failed("usage", tostring(engine.as_error(result[2])), "usage")
            return EXIT.usage
        end
        return require("lang.plan").problems > 0 and EXIT.usage or 0
    end
    local ok, code = pcall(function()
        if result[1] then
            return succeeded(result[2])
        end
        return after(result[2])
    end)
    if ok then
        return code
    end
    local again, last = pcall(after, code)
    return again and last or EXIT.journal
end

return main
