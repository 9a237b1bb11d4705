-- When the host needs a person: on_failure = "ask" and "alert", and a rollback that is stuck.
local host = require "lang.host"
local engine = require "lang.engine"

local FAR = 1 << 50 -- a time that does not come: such a wait ends by being cancelled

--- Waits until a decision about `key` that is newer than `since` (a seq) is recorded, and returns it.
local function await_decision(key, since, asked)
    while true do
        engine.pause_point()
        local decision, seq = host.recall("decision", key)
        if decision and seq > since then
            return decision
        end
        local waiter = host.task.spawn(function() host.task.sleep_until(FAR) end)
        local function wake()
            host.task.cancel(waiter, engine.error("woken", "woken", { control = true }), true)
        end
        engine.on_decision = wake
        engine.idle(asked, nil, function() host.task.join(waiter) end)
        engine.on_decision = nil
    end
end

local CHOICES = "--retry | --rollback | --stop | --done [--result JSON] | --skip --reason WHY"

--- on_failure = "ask": a failed unit waits for a person. Returns the decision.
function engine.ask(scope, err, opts)
    local _, since = host.recall(scope.kind .. ".end", scope.key)
    engine.commit()
    engine.tell_people(string.format("%s %q failed and waits for a decision: %s", scope.kind, scope.name, err.message))
    local choice = await_decision(scope.key, since, {
        ["for"] = string.format("a decision about %s %q", scope.kind, scope.name), error = err.message,
        command = string.format("rollouthost decide %s %q %s", host.run.id, scope.key, CHOICES),
    })
    if choice.choice == "skip" and opts.required then
        host.say("warning", scope.key, { text = "a required step cannot be skipped" })
        return engine.ask(scope, err, opts)
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
