-- approve: a person who holds a role says that the run may go on. Bound to the run, the step, the stored
-- sources and the evidence that was shown; void if any of them changes. Silence is no approval.
local host = require "lang.host"
local answers = require "lang.answers"
local engine = require "lang.engine"
local header = require "lang.header"
local options = require "lang.options"
local roles = require "lang.roles"
local units = require "lang.units"

local approve = {}

local SPEC = {
    role = "string", roles = "table", count = "integer", timeout = "duration", not_operator = "boolean",
    on_timeout = { "string", one_of = { "stop", "rollback", "ask", "alert" } },
    evidence = "any", help = "string", body = false,
}

-- What an approval is bound to, as one digest; of the sources those that were stored before the event `before`.
local function bound_to(place, name, evidence, before)
    local sources = {}
    for _, event in ipairs(host.history("source")) do
        if not before or event.seq < before then sources[#sources + 1] = event.payload.sha256 end
    end
    return host.digest { run = host.run.id, place = place, name = name, sources = sources, evidence = evidence }
end

local function wanted_roles(opts, where)
    if opts.role and opts.roles then options.refuse(where, "give either role or roles") end
    local list = opts.roles or { opts.role }
    for _, role in ipairs(list) do
        if type(role) ~= "string" then options.refuse(where, "roles is a list of names") end
    end
    if opts.count and opts.count ~= 1 then
        options.refuse(where, "count: one approval at a time; write one approve for each role")
    end
    return list
end

local function holds(users, name)
    if not users then return true end
    for _, user in ipairs(users) do
        if user == name then return true end
    end
    return false
end

-- Why an answer of this person does not count, or nil.
local function objection(by, asked)
    if not by or not by.name then return "nobody knows who gave it" end
    if not holds(asked.users, by.name) then
        return ("%s has not the role %s (%s)"):format(by.name, table.concat(asked.roles, ", "),
            table.concat(asked.users, ", "))
    elseif asked.not_operator and by.name == host.run.operator then
        return by.name .. " operates this run, and somebody else must approve it"
    end
end

local function question(scope, asked)
    local lines = { ("Approve %q?"):format(scope.name) }
    lines[#lines + 1] = asked.question or asked.help
    local choices = {}
    if asked.evidence ~= nil then choices[1] = "evidence: " .. host.json.encode(asked.evidence) end
    choices[#choices + 1] = "yes"
    choices[#choices + 1] = "no REASON"
    return { question = table.concat(lines, " "), choices = choices, prompt = "approve> ", kind = "approve",
        name = scope.name, evidence = asked.evidence }
end

-- An answer as it is recorded, for who asked.
local function answered(said)
    return { by = said.by.name, verdict = said.verdict, comment = said.comment, reason = said.reason }
end

local function wait_for(scope, asked)
    local said, said_seq = host.recall("approve.answer", scope.key)
    if said and said_seq > asked.seq then -- a process that died before it could act on it
        return answered(said)
    end
    local who = #asked.roles > 0 and ("%s (%s)"):format(table.concat(asked.roles, " or "),
        table.concat(asked.users, ", ")) or "anybody with access to this run"
    local name = scope.name
    local here = not objection({ name = host.run.operator }, asked)
    local command = ("rollouthost approve %s %s%s"):format(host.run.id, answers.quoted(name), host.run.state_option)
    local what = asked.question and ": " .. asked.question or ""
    return engine.calling(scope, { text = ("%q waits for approval by %s%s"):format(name, who, what), command = command,
        since = asked.seq, at = asked.at, here = here and host.run.interactive }, answers.await, {
        kind = "approve", name = name, key = scope.key, asked = asked.at, ["until"] = asked["until"],
        waiting = ("approval by %s: %s"):format(who, command),
        question = here and function() return question(scope, asked) end or nil,
        parse = function(line)
            local word, rest = answers.split(line)
            if word == "yes" or word == "y" or word == "approve" then
                return "approve", { key = scope.key, comment = rest }
            elseif (word == "no" or word == "n" or word == "reject") and rest then
                return "reject", { key = scope.key, reason = rest }
            end
            return nil, "type yes, or no and the reason"
        end,
        take = function(message)
            local data = message.data or {}
            local why = objection(message.by, asked)
            if not why and data.bound and data.bound ~= asked.bound then
                why = "it was given for other evidence or sources"
            elseif not why and message.kind == "reject" and not data.reason then
                why = "a rejection needs a reason"
            end
            if why then return answers.ignore(message, scope.key, why) end
            said = { name = name, by = message.by, bound = asked.bound,
                verdict = message.kind == "approve" and "approved" or "rejected",
                comment = data.comment, reason = data.reason }
            engine.record("approve.answer", scope.key, said)
            return answered(said)
        end,
    })
end

local function run(scope, timeout, on_timeout)
    local asked, seq, begun_at = host.recall("approve.begin", scope.key)
    asked.seq, asked.at = seq, begun_at
    asked["until"] = timeout and asked.at + timeout
    local left = timeout and math.max(1, asked["until"] - host.now())
    local ok, answer = pcall(engine.deadline, left, "approval", wait_for, scope, asked)
    if not ok then
        if type(answer) == "table" and answer.code == "timeout" then
            scope.opts.on_failure = on_timeout
            local who = #asked.roles > 0 and " with the role " .. table.concat(asked.roles, " or ") or ""
            engine.raise("approval", ("nobody%s approved it within %s"):format(who, units.show(timeout)))
        end
        error(answer, 0)
    elseif answer.verdict == "rejected" then
        engine.raise("approval", ("rejected by %s: %s"):format(answer.by, answer.reason))
    end
    return { by = answer.by, comment = answer.comment, at = host.now(), bound = asked.bound }
end

function approve.approve(name, given)
    local opts = options.verb("approve", name, given, nil, SPEC)
    local where = ("approve %q"):format(name)
    local list = wanted_roles(opts, where)
    local users
    if #list > 0 and not engine.skip_reason(opts) then
        users = roles.holders(header.roles, list, where)
    end
    local evidence = host.keep(opts.evidence)
    return engine.unit {
        kind = "approve", name = name, own_timeout = true,
        opts = { when = opts.when, only = opts.only, key = opts.key, on_failure = opts.on_failure },
        facts = { roles = host.json.array(list), users = users and host.json.array(users), evidence = evidence,
            bound = bound_to(engine.scope().key, name, evidence),
            not_operator = opts.not_operator, help = opts.help, timeout = opts.timeout },
        run = function(scope) return run(scope, opts.timeout, opts.on_timeout or opts.on_failure or "stop") end,
        replay = function(ended, scope)
            local _, seq = host.recall("approve.begin", scope.key)
            return ended.value ~= nil
                and ended.value.bound ~= bound_to(scope.parent.key, name, evidence, seq)
        end,
    }
end

engine.verb("approve", approve.approve)

-- ---- inside an effect ----

local INSIDE = { question = { "text", required = true }, evidence = "any", role = "string", roles = "table",
    not_operator = "boolean" }

-- Errors after which a resumed run goes on waiting.
local WAITS_ON = { paused = true, journal = true }

local function step_of(scope)
    while scope.kind == "effect" do scope = scope.parent end
    return scope
end

-- Asks, or goes on waiting for what was asked. → the answer
local function ask(scope, asked)
    local ok, answer = pcall(engine.standing_still, engine.within, scope, wait_for, scope, asked)
    if not ok then
        if type(answer) ~= "table" or not WAITS_ON[answer.code] then
            engine.record("approve.end", scope.key, { status = "cancelled", name = scope.name,
                reason = engine.as_error(answer).message })
        end
        error(answer, 0)
    end
    return answer
end

local function rejected(plain)
    engine.raise("rejected", plain.message, plain.detail)
end

--- ctx.approve { question, evidence, role, roles, not_operator } → { by, comment }: `scope` is an effect's inside. Recorded
--- under the effect by what was asked, so a resumed run does not ask again. A rejection raises "rejected".
function approve.inside(scope, given)
    local opts = options.check(given, INSIDE, "ctx.approve")
    local step, text = step_of(scope), (host.keep(tostring(opts.question)))
    if host.run.mode ~= "run" then
        engine.raise("person", "a person has to say yes, and `rollouthost lua` can ask nobody: " .. text)
    elseif step.place == "check" then
        engine.fail("misplaced", ("a check asks nobody (%s %q): %s"):format(step.kind, step.name, text))
    end
    local list = host.json.array(wanted_roles(opts, "ctx.approve"))
    local users = #list > 0 and host.json.array(roles.holders(header.roles, list, "ctx.approve")) or nil
    local evidence = host.keep(opts.evidence)
    local key = ("%s!approve-%s"):format(scope.key, host.digest { question = text, evidence = evidence, roles = list,
        not_operator = opts.not_operator }:sub(1, 12))
    local asked, seq, at = host.recall("approve.begin", key)
    local ended, ended_seq = host.recall("approve.end", key)
    if ended and ended_seq > seq then
        if ended.status == "ok" then return ended.value end
        if ended.status == "failed" then rejected(ended.error) end
        asked = nil
    end
    if not asked then
        engine.pause_point()
        engine.record("approve.begin", key, { name = step.name, question = text, evidence = evidence, roles = list,
            users = users, not_operator = opts.not_operator, bound = bound_to(scope.key, text, evidence),
            line = engine.blame() })
        asked, seq, at = host.recall("approve.begin", key)
    end
    asked.seq, asked.at = seq, at
    local answer = ask({ kind = "approve", name = step.name, key = key, parent = scope, counts = {}, place = "pure",
        opts = {}, log = scope.log }, asked)
    local ms = host.now() - at
    if answer.verdict == "rejected" then
        local plain = { code = "rejected", message = ("rejected by %s: %s"):format(answer.by, answer.reason),
            detail = { by = answer.by, reason = answer.reason } }
        engine.record("approve.end", key, { status = "failed", name = step.name, error = plain, ms = ms })
        rejected(plain)
    end
    local value = { by = answer.by, comment = answer.comment }
    engine.record("approve.end", key, { status = "ok", name = step.name, value = value, ms = ms })
    engine.commit() -- before what was approved is done: its probe may tell that it is, and then nobody comes here again
    return value
end

return approve
