-- What a run says: note, attach, notify, and its alerts.
local host = require "lang.host"
local engine = require "lang.engine"
local header = require "lang.header"
local options = require "lang.options"
local units = require "lang.units"

local function text_of(verb, value)
    if type(value) ~= "string" and not host.is_secret(value) and getmetatable(value) == nil then
        options.refuse(verb, "takes a text, not a " .. type(value))
    end
    return tostring(value)
end

-- note and attach may also stand in a step's body: recorded once for each attempt.
local function place(verb)
    local scope = engine.scope()
    if scope.place == "check" then
        engine.fail("misplaced", ("%s leaves a trace, and a check is repeated: write it beside the %s"):format(verb,
            scope.kind))
    end
    local name = scope.attempt and scope.attempt > 1 and ("%s@%d"):format(verb, scope.attempt) or verb
    local key = engine.child_key(scope, name)
    if host.recall(verb, key) then return nil end
    if engine.frozen then error(engine.frozen, 0) end
    return key
end

engine.verb("note", function(text, opts)
    text = text_of("note", text)
    opts = options.check(opts, { when = "any", only = "string|table" }, "note")
    if engine.skip_reason(opts) then return end
    local line = engine.blame()
    if engine.mode() == "plan" then
        return host.say("plan", engine.scope().key, { kind = "note", name = text, line = line })
    end
    local key = place "note"
    if key then engine.record("note", key, { text = text, line = line, scope = engine.scope().key }) end
end)

-- Keeps a masked copy of a file with the run. That it cannot be kept is a warning: evidence is missing, and
-- the rollout is what it was.
engine.verb("attach", function(path, name)
    path = text_of("attach", path)
    name = name or path:match("([^/]+)/*$")
    if type(name) ~= "string" or not name or name:find("[/%c]") or name:sub(1, 1) == "." then
        options.refuse("attach", "its name is a file's name without a folder: attach(path, \"migration.log\")")
    end
    local line = engine.blame()
    if engine.mode() == "plan" then
        return host.say("plan", engine.scope().key, { kind = "attach", name = name, line = line })
    end
    local key = place "attach"
    if not key then return end
    local from = path:sub(1, 1) == "/" and path or host.run.start_dir .. "/" .. path
    local ok, kept = pcall(host.attach, from, name)
    if ok then
        engine.record("attach", key, { name = name, from = path, path = kept.path, bytes = kept.bytes,
            sha256 = kept.sha256, line = line })
    else
        local why = engine.as_error(kept).message
        engine.record("attach", key, { name = name, from = path, missing = why, line = line })
        host.say("warning", key, { text = ("%s is not attached: %s"):format(path, why) })
    end
end)

-- notify -----------------------------------------------------------------------------------------------------

local function names(channels)
    local list = {}
    for name in pairs(channels) do list[#list + 1] = name end
    table.sort(list)
    return list
end

-- Which channels a message goes to: those named, else "team", else the only one.
local function chosen(to)
    local known = names(header.notify or {})
    if to == nil then
        if header.notify and header.notify.team then return { "team" } end
        if #known <= 1 then return known end
        options.refuse("notify", "say to whom: to = \"" .. table.concat(known, "\" or \"") .. "\"")
    end
    local list = type(to) == "table" and to or { to }
    for _, name in ipairs(list) do
        if not (header.notify and header.notify[name]) then
            local hint = host.suggest(tostring(name), known)
            options.refuse("notify", ("there is no channel %q%s"):format(tostring(name), hint and ": " .. hint
                or #known > 0 and "; there are " .. table.concat(known, ", ")
                or ": the header's notify names channels"))
        end
    end
    return list
end

-- A name for the journal's key: the text's beginning.
local function title(text)
    local line = text:match("^%s*([^\n]*)")
    if utf8.len(line) and utf8.len(line) > 60 then
        line = line:sub(1, utf8.offset(line, 60) - 1) .. "…"
    end
    return line ~= "" and line or "message"
end

local function send(scope, to, text, required)
    local run = host.run
    local delivered, failed = {}, {}
    for _, name in ipairs(to) do
        local message = { text = text, to = name, run = { id = run.id, playbook = engine.header.name,
            environment = run.environment, operator = run.operator } }
        local ok, err = pcall(engine.closed, header.notify[name], message)
        if ok then
            delivered[#delivered + 1] = name
        elseif engine.interrupts(err) then
            error(err, 0)
        else
            local plain = engine.plain_error(err)
            failed[#failed + 1] = { to = name, error = plain }
            host.say("warning", scope.key, { text = ("notify %s failed: %s"):format(name, plain.message) })
        end
    end
    if required and #failed > 0 then
        engine.raise("notify", ("%s was not reached: %s"):format(failed[1].to, failed[1].error.message))
    end
    return { delivered = host.json.array(delivered), failed = #failed > 0 and failed or nil }
end

-- `name`: of the unit, where the text does not begin with one.
local function notify(given, name)
    local opts = type(given) == "table" and getmetatable(given) == nil and options.check(given, {
        text = { "any", required = true }, to = "string|table", required = "boolean", when = "any",
        only = "string|table", key = "string|integer", timeout = "duration",
    }, "notify") or { text = given }
    local text = text_of("notify", opts.text)
    local to = chosen(opts.to)
    local required = opts.required
    engine.unit {
        kind = "notify", name = name or title(text), place = "effects",
        opts = { when = opts.when, only = opts.only, key = opts.key, timeout = opts.timeout },
        facts = { to = host.json.array(to), text = text },
        run = function(scope) return send(scope, to, text, required) end,
    }
end

engine.verb("notify", function(given) notify(given) end)

-- fail(reason): the playbook itself says that the run has failed.
engine.verb("fail", function(reason, more)
    if more ~= nil then options.refuse("fail", "takes a reason and no options: write `if … then fail(…) end`") end
    engine.fail("fail", text_of("fail", reason))
end)

-- Alerts -----------------------------------------------------------------------------------------------------

local function called(step)
    local users = header.roles[step[1]] or {}
    return ("%s%s%s"):format(step[1], #users > 0 and " (" .. table.concat(users, ", ") .. ")" or "",
        step.after and " after " .. units.show(step.after) or "")
end

local function calls()
    local list = {}
    for i, step in ipairs(header.escalation or {}) do list[i] = called(step) end
    return #list > 0 and ". Call: " .. table.concat(list, ", ") or ""
end

-- Tells the channels that a person is needed, and whom. It has a scope of its own for each process: a replay's order
-- does not miss it, and rather twice than never. That it cannot be sent is a warning.
local function alert(name, text)
    local around = engine.scope()
    local scope = engine.container("alert", "alert", engine.child_key(around, "alert@" .. host.epoch))
    local message = ("%s in %s, run %s: %s"):format(engine.header.name, host.run.environment, host.run.id, text)
    local channels = header.notify or {}
    if next(channels) == nil then
        return engine.record("note", scope.key, { text = message })
    end
    local ok, err = pcall(engine.within, scope, notify,
        { text = message, to = not channels.team and names(channels) or nil }, name)
    if not ok then
        if engine.passes_on(err) then error(err, 0) end
        host.say("warning", scope.key, { text = "an alert could not be sent: " .. engine.as_error(err).message })
    end
end

--- Tells that a person is needed, and all that the header's escalation calls.
function engine.tell_people(text)
    alert(nil, text .. calls())
end

-- The steps of the escalation that are due at once, as one, and the later ones.
local function rounds()
    local now, list = {}, {}
    for _, step in ipairs(header.escalation or {}) do
        if (step.after or 0) == 0 then now[#now + 1] = called(step) else list[#list + 1] = step end
    end
    table.insert(list, 1, { whom = table.concat(now, ", "), after = 0 })
    return list
end

-- How often a call is begun that a crash cut off: a host that dies of it must get past it.
local TRIES = 3

--- Runs fn(…), which waits for a person, and calls people meanwhile: at once, unless the question stands `here`, at the
--- run's own terminal, and at the later steps of the header's escalation. `since` is the seq and `at` the time (ms) of the
--- event that began the wait. What was told is recorded: a resumed run tells the rest. wait = { text, command, since, at,
--- here }.
function engine.calling(scope, wait, fn, ...)
    if next(header.notify or {}) == nil then
        return fn(...) -- the terminal and the journal say the same
    end
    local function tried(key)
        local call, seq = host.recall("call", key)
        return call and seq > wait.since and (call.done and TRIES or call.try) or 0
    end
    local caller = host.task.spawn(function()
        for i, round in ipairs(rounds()) do
            local key = ("%s!call%d"):format(scope.key, i)
            local call = { name = scope.name, whom = round.whom or called(round), try = tried(key) + 1 }
            if call.try <= TRIES and not (wait.here and i == 1) then
                if round.after > 0 then host.task.sleep_until(wait.at + round.after) end
                engine.record("call", key, call)
                engine.commit()
                engine.within(scope.parent, alert, "call about " .. scope.name, ("%s%s\n%s"):format(wait.text,
                    call.whom ~= "" and ". Call: " .. call.whom or "", wait.command))
                call.done = true
                engine.record("call", key, call)
                engine.commit()
            end
        end
    end)
    local result = table.pack(pcall(fn, ...))
    -- A message that is on its way gets there; later ones are not needed.
    host.task.cancel(caller, engine.error("answered", "answered", { control = true }), false)
    host.task.join(caller)
    if not result[1] then error(result[2], 0) end
    return table.unpack(result, 2, result.n)
end
