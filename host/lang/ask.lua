-- When the host needs a person: on_failure = "ask" and "alert", and a rollback that is stuck.
local host = require "lang.host"
local answers = require "lang.answers"
local engine = require "lang.engine"

local FAR = 1 << 50 -- a time that does not come: such a wait ends by being cancelled

local waiting = {} -- the waits for a decision, of branches in parallel: task → key

--- The unit that waits for a decision, if there is exactly one.
function engine.undecided()
    local task, key = next(waiting)
    return task and next(waiting, task) == nil and key or nil
end

function engine.on_decision()
    for waiter in next, waiting do
        host.task.cancel(waiter, engine.error("woken", "woken", { control = true }), true)
    end
end

--- Waits until a decision about `key` that is newer than `since` (a seq) is recorded, and returns it. What is
--- required cannot be skipped: such a decision is passed over.
local function await_decision(key, since, asked, required)
    while true do
        engine.pause_point()
        local decision, seq = host.recall("decision", key)
        if decision and seq > since then
            if decision.choice ~= "skip" or not required then
                return decision
            end
            since = seq
            host.say("warning", key, { text = "it is required and cannot be skipped" })
        end
        local waiter = host.task.spawn(function() host.task.sleep_until(FAR) end)
        waiting[waiter] = key
        local ok, err = pcall(engine.idle, asked, nil, function() host.task.join(waiter) end)
        waiting[waiter] = nil
        if not ok then
            error(err, 0)
        end
    end
end

local CHOICES = { retry = true, rollback = true, stop = true, done = true, skip = true }
local COMMAND = "--retry | --rollback | --stop | --done [--result JSON] | --skip --reason WHY"

-- The question at the run's own terminal, where there is one.
local function question(scope, err, opts)
    return {
        key = scope.key,
        question = function()
            return { kind = "decide", name = scope.name, prompt = "decide> ",
                question = string.format("%s %q failed: %s", scope.kind, scope.name, err.message),
                choices = { "retry", "rollback", "stop", "done EVIDENCE", "skip REASON" } }
        end,
        parse = function(line)
            local choice, reason = answers.split(line)
            if not CHOICES[choice] then
                return nil, "type retry, rollback, stop, done and the evidence, or skip and the reason"
            elseif (choice == "done" or choice == "skip") and not reason then
                return nil, choice .. " needs how you know: a reason"
            elseif choice == "skip" and opts.required then
                return nil, "it is required and cannot be skipped"
            end
            return "decide", { key = scope.key, choice = choice, reason = reason }
        end,
    }
end

--- on_failure = "ask": a failed unit waits for a person. Returns the decision.
function engine.ask(scope, err, opts)
    local _, since, at = host.recall(scope.kind .. ".end", scope.key)
    engine.commit()
    local terminal = answers.ask_here(question(scope, err, opts))
    local command = string.format("rollouthost decide %s %s%s %s", host.run.id, answers.quoted(scope.key),
        host.run.state_option, COMMAND)
    local wait = { text = string.format("%s %q failed and waits for a decision: %s", scope.kind, scope.name, err.message),
        command = command, since = since, at = at, here = terminal and true }
    local ok, choice = pcall(engine.calling, scope, wait, await_decision, scope.key, since, {
        ["for"] = string.format("a decision about %s %q", scope.kind, scope.name), error = err.message, command = command,
    }, opts.required)
    answers.stop_asking(terminal)
    if not ok then
        error(choice, 0)
    end
    return choice
end

--- on_failure = "alert": told and recorded, and the run goes on.
function engine.alert(scope, err)
    engine.tell_people(string.format("%s %q failed, and the run goes on: %s", scope.kind, scope.name, err.message))
end

--- A rollback is stuck: everybody of the escalation is told.
function engine.escalate(err)
    engine.tell_people("A human is needed now. " .. err.message)
end
