-- playbook "name" { … }: the header, the choice of the environment, and `run`.
local host = require "lang.host"
local engine = require "lang.engine"
local inputs = require "lang.inputs"
local options = require "lang.options"
local roles = require "lang.roles"

local header = {}

local SPEC = { title = "string", environments = "table", inputs = "table", roles = "table", notify = "table",
    escalation = "table", rollback = "table", deny = "table" }

-- { "staging", { "production", protected = true } } → list of { name, protected }
local function environments(given, where)
    local list = {}
    for i, one in ipairs(given or {}) do
        local made = type(one) == "string" and { one } or options.check(one,
            { [1] = { "string", required = true }, protected = "boolean" }, ("%s: environments[%d]"):format(where, i))
        if not made[1]:match("^[%w][%w_.-]*$") then
            options.refuse(where, ("environment %q: a name is letters, digits, _ . and -"):format(made[1]))
        end
        local protected = made.protected
        if protected == nil then protected = made[1] == "production" end
        list[i] = { name = made[1], protected = protected }
    end
    if given and #list == 0 then options.refuse(where, "environments is empty") end
    return list
end

local function choose(list, wanted, where)
    local names = {}
    for i, one in ipairs(list) do
        names[i] = one.name
        if one.name == wanted then return one end
    end
    if #list == 0 then
        wanted = wanted or "default"
        return { name = wanted, protected = wanted == "production" }
    elseif not wanted then
        if #list == 1 then return list[1] end
        options.refuse(where, "say for which environment: --env " .. table.concat(names, " or --env "))
    end
    local hint = host.suggest(wanted, names)
    options.refuse(where, ("there is no environment %q%s"):format(wanted,
        hint and ": " .. hint or "; there are " .. table.concat(names, ", ")))
end

local function channels(given, where)
    local made = {}
    for name, channel in pairs(given or {}) do
        if type(name) ~= "string" or type(channel) ~= "function" then
            options.refuse(where, ("notify: a channel has a name and is a function, like slack.webhook(…); %s is a %s")
                :format(tostring(name), type(channel)))
        end
        made[name] = channel
    end
    return made
end

local function texts(given, where, field)
    for i, one in ipairs(given or {}) do
        if type(one) ~= "string" or one == "" then
            options.refuse(where, ("%s[%d] is a text"):format(field, i))
        end
    end
    return given
end

local function escalation(given, known, where)
    local list = {}
    for i, one in ipairs(given or {}) do
        local at = ("%s: escalation[%d]"):format(where, i)
        list[i] = options.check(one, { [1] = { "string", required = true }, after = "duration" }, at)
        roles.known(known, list[i][1], at)
    end
    return list
end

-- `run` ----------------------------------------------------------------------------------------------------

-- A table that is read-only, and in which a misspelt field is an error.
local function sealed(what, fields, list)
    return setmetatable({}, {
        __index = engine.boundary(function(_, key)
            if fields[key] ~= nil then return fields[key] end
            for _, name in ipairs(list) do
                if name == key then return nil end
            end
            local hint = host.suggest(tostring(key), list)
            options.refuse(what, ("there is no %q%s"):format(tostring(key),
                hint and ": " .. hint or "; there are " .. table.concat(list, ", ")))
        end),
        __newindex = engine.boundary(function(_, key)
            options.refuse(what, ("is read-only: %s cannot be assigned"):format(tostring(key)))
        end),
        __pairs = function() return pairs(fields) end,
        __metatable = false,
    })
end

local function keys(fields)
    local list = {}
    for key in pairs(fields) do list[#list + 1] = key end
    table.sort(list)
    return list
end

local RUN = { "id", "playbook", "environment", "inputs", "operator", "host", "started", "planned", "mode", "now",
    "previous", "begun" }
local facts = {}

engine.words.run = sealed("run", facts, RUN)

local function publish(made, values)
    local run = host.run
    facts.id = run.id or made.name .. "-‹run›" -- a plan has none
    facts.operator, facts.host, facts.mode = run.operator, run.host, run.mode
    facts.playbook, facts.environment = made.name, made.environment
    facts.started = select(3, host.recall("run.start", "")) or host.now()
    facts.planned = run.at
    facts.inputs = sealed("run.inputs", values, keys(made.rules))
    facts.now = function()
        -- A check is repeated, and each time is another.
        if engine.scope().place == "check" then return host.now() end
        return engine.observe("now", host.now)
    end
    facts.begun = function(name)
        if type(name) ~= "string" then options.refuse("run.begun", "takes the name of a step") end
        return engine.mode() == "plan" or engine.has_begun(name)
    end
end

-- The header -----------------------------------------------------------------------------------------------

local function declare(name, given)
    local where = ("playbook %q"):format(name)
    if engine.header then options.refuse(where, "a run has one header, and there is one already") end
    local spec = options.check(given, SPEC, where)
    local recorded = host.run.resumed and host.recall("run.start", "")
    local known = environments(spec.environments, where)
    local environment = choose(known, recorded and recorded.environment or host.run.environment, where)
    for i, one in ipairs(known) do options.environments[i] = one.name end
    local rules = inputs.declare(spec.inputs, where)
    local values = recorded and recorded.inputs or inputs.read(rules, host.run.set, where)
    local people = recorded and recorded.roles or roles.read(spec.roles, host.run.roles_file, where)
    local rollback = options.check(spec.rollback, { budget = "duration" }, where .. ": rollback")
    header.notify = channels(spec.notify, where)
    header.roles = people
    header.escalation = escalation(spec.escalation, people, where)
    if host.run.at then
        local at, why = require("lang.zone").parse(host.run.at, "UTC")
        if not at then options.refuse("--at", why) end
    end
    local made = {
        name = name, title = spec.title, environment = environment.name, protected = environment.protected,
        deny = texts(spec.deny, where, "deny"), budget = rollback.budget, inputs = values, roles = people,
        rules = rules,
    }
    engine.begin(made)
    publish(made, values)
end

engine.verb("playbook", function(name)
    if type(name) ~= "string" or not name:match("^%a[%w_-]*$") then
        options.refuse("playbook", "its name is letters, digits, _ and -: playbook \"shop\" { … }")
    end
    return function(spec)
        declare(name, spec)
    end
end)

return header
