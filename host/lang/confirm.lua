-- confirm and checklist: what only a person can tell. Pass, fail, or not applicable with a reason.
local host = require "lang.host"
local answers = require "lang.answers"
local engine = require "lang.engine"
local header = require "lang.header"
local options = require "lang.options"
local roles = require "lang.roles"
local units = require "lang.units"

local SPEC = { role = "string", timeout = "duration", help = "string", evidence = "any", required = "boolean",
    body = false }

local VERDICTS = { pass = "pass", p = "pass", yes = "pass", y = "pass", ok = "pass",
    fail = "fail", f = "fail", no = "fail", n = "fail", na = "na", ["n/a"] = "na" }

local SHOWN = { pass = "passed", fail = "failed", na = "not applicable" }

-- Why this answer does not count, or nil.
local function objection(asked, by, data)
    if not by or not by.name then return "nobody knows who gave it" end
    if asked.users then
        local holds = false
        for _, user in ipairs(asked.users) do holds = holds or user == by.name end
        if not holds then return ("%s has not the role %s"):format(by.name, asked.role) end
    end
    if data.answer ~= "pass" and data.answer ~= "fail" and data.answer ~= "na" then
        return "it is neither pass nor fail nor na"
    elseif data.answer ~= "pass" and (data.reason or "") == "" then
        return data.answer .. " needs a reason"
    elseif data.answer == "na" and asked.required then
        return "it is required, so it cannot be not applicable"
    end
end

-- Asks for `items` (for a confirm: its own name) one after the other, in whatever order they are answered.
local function ask_all(scope, asked, items)
    local _, begun = host.recall(scope.kind .. ".begin", scope.key)
    local answered, open = {}, {}
    if scope.resumed then
        for _, event in ipairs(host.history("confirm.answer")) do
            if event.key == scope.key and event.seq > begun then answered[event.payload.item] = event.payload end
        end
    end
    local single = scope.kind == "confirm"

    local function find_item(name)
        if single or name == nil then return open[1] end
        local by_number = items[math.tointeger(tonumber(name))]
        for _, item in ipairs(items) do
            if item == name or item:lower() == tostring(name):lower() then return item end
        end
        if by_number then return by_number end
        local hint = host.suggest(tostring(name), items)
        return nil, ("there is no item %q%s"):format(tostring(name), hint and ": " .. hint or "")
    end

    local function failed(answer)
        engine.raise("confirm", single and ("%s (by %s)"):format(answer.reason, answer.by.name)
            or ("%s: %s (by %s)"):format(answer.item, answer.reason, answer.by.name))
    end

    while true do
        open = {}
        for _, item in ipairs(items) do
            if not answered[item] then
                open[#open + 1] = item
            elseif answered[item].verdict == "fail" then
                failed(answered[item])
            end
        end
        if #open == 0 then return answered end
        local command = ("rollouthost confirm %s %s%s --pass%s"):format(host.run.id, answers.quoted(scope.name),
            single and "" or " --item " .. answers.quoted(open[1]), host.run.state_option)
        answers.await {
            kind = scope.kind, name = scope.name, key = scope.key, asked = asked.at, ["until"] = asked["until"],
            waiting = single and "confirmation: " .. command
                or ("%d of %d items open: %s"):format(#open, #items, command),
            question = function()
                local text = single and scope.name or ("%s (%d of %d): %s"):format(scope.name,
                    #items - #open + 1, #items, open[1])
                return { question = text, choices = { "pass", "fail REASON", "na REASON" }, prompt = "confirm> ",
                    kind = scope.kind, name = scope.name, item = open[1], help = asked.help,
                    evidence = asked.evidence }
            end,
            parse = function(line)
                local word, rest = answers.split(line)
                local data = { key = scope.key, item = open[1], answer = VERDICTS[word], reason = rest }
                local why = not data.answer and "type pass, fail and why, or na and why"
                    or objection(asked, { name = host.run.operator }, data)
                if why then return nil, why end
                return "confirm", data
            end,
            take = function(message)
                local data = message.data or {}
                local item, why = find_item(data.item)
                why = why or objection(asked, message.by, data)
                if not why and answered[item] then why = ("%q is answered already"):format(item) end
                if why then return answers.ignore(message, scope.key, why) end
                answered[item] = { name = scope.name, item = item, verdict = data.answer, reason = data.reason,
                    by = message.by }
                engine.record("confirm.answer", scope.key, answered[item])
                return true
            end,
        }
    end
end

local function run(scope, items, timeout)
    local asked, seq, begun_at = host.recall(scope.kind .. ".begin", scope.key)
    asked.at = begun_at
    asked["until"] = timeout and asked.at + timeout
    local left = timeout and math.max(1, asked["until"] - host.now())
    local by = asked.users and (" by %s (%s)"):format(asked.role, table.concat(asked.users, ", ")) or ""
    local wait = { text = ("%q waits for an answer%s"):format(scope.name, by), since = seq, at = begun_at,
        here = host.run.interactive, command = ("rollouthost confirm %s %s%s --pass%s"):format(host.run.id,
        answers.quoted(scope.name), scope.kind == "confirm" and "" or " --item ITEM", host.run.state_option) }
    local ok, answered = pcall(engine.calling, scope, wait, engine.deadline, left, "the answer", ask_all, scope, asked,
        items)
    if not ok then
        if type(answered) == "table" and answered.code == "timeout" then
            engine.raise("confirm", ("nobody answered within %s"):format(units.show(timeout)))
        end
        error(answered, 0)
    end
    local results = {}
    for i, item in ipairs(items) do
        local one = answered[item]
        results[i] = { item = item, verdict = one.verdict, reason = one.reason, by = one.by.name,
            text = ("%s: %s"):format(item, SHOWN[one.verdict]) }
    end
    return host.json.array(results)
end

local function unit(kind, name, items, given)
    local opts = options.verb(kind, name, given, nil, SPEC)
    local users
    if opts.role and not engine.skip_reason(opts) then
        users = roles.holders(header.roles, { opts.role }, ("%s %q"):format(kind, name))
    end
    return engine.unit {
        kind = kind, name = name, own_timeout = true,
        opts = { when = opts.when, only = opts.only, key = opts.key, on_failure = opts.on_failure,
            required = opts.required },
        facts = { items = kind == "checklist" and items or nil, role = opts.role,
            users = users and host.json.array(users), help = opts.help, evidence = host.keep(opts.evidence),
            required = opts.required, timeout = opts.timeout },
        run = function(scope) return run(scope, items, opts.timeout) end,
    }
end

engine.verb("confirm", function(name, opts)
    local results = unit("confirm", name, { name }, opts)
    return results and results[1]
end)

engine.verb("checklist", function(name, items, opts)
    local where = ("checklist %q"):format(tostring(name))
    if type(items) ~= "table" or #items == 0 then
        options.refuse(where, "its second argument is the list of items: checklist(\"Smoke\", { \"Login works\" })")
    end
    local seen = {}
    for i, item in ipairs(items) do
        if type(item) ~= "string" or item == "" then options.refuse(where, ("item %d is a text"):format(i)) end
        if seen[item] then options.refuse(where, ("item %q is there twice"):format(item)) end
        seen[item] = true
    end
    return unit("checklist", name, items, opts)
end)
