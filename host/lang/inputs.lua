-- The inputs of a run: what the header declares, held against what --set gave. Every problem is told at once.
local host = require "lang.host"
local options = require "lang.options"
local units = require "lang.units"

local inputs = {}

local TYPES = { string = true, integer = true, number = true, boolean = true, duration = true, one_of = true }
local SPEC = { type = "string", pattern = "string", min = "number|string", max = "number|string", default = "any",
    help = "string", one_of = "table" }

local TRUTH = { ["true"] = true, yes = true, on = true, ["1"] = true,
    ["false"] = false, no = false, off = false, ["0"] = false }

-- Each turns a text into its type's value: nil and what is wanted if it cannot.
local readers = {
    string = function(text) return text end,
    integer = function(text)
        return math.tointeger(text:match("^[-+]?%d+$") and tonumber(text)), "an integer"
    end,
    number = function(text)
        return text:match("^[-+]?%.?%d") and tonumber(text) or nil, "a number"
    end,
    boolean = function(text) return TRUTH[text:lower()], "true or false" end,
    duration = function(text)
        local ms, why = units.duration(text)
        return ms and text, why or "a duration"
    end,
}

local function measure(kind, value)
    if kind == "string" then return utf8.len(value) or #value end
    if kind == "duration" then return (units.duration(value)) end
    return value
end

-- What is wrong with a value of the right type, or nil.
local function problem(rule, value)
    local kind = rule.type
    if rule.one_of then
        for _, one in ipairs(rule.one_of) do
            if one == value then return nil end
        end
        local names = {}
        for i, one in ipairs(rule.one_of) do names[i] = tostring(one) end
        return "is none of " .. table.concat(names, ", ")
    elseif rule.pattern and not value:find(rule.pattern) then
        return ("does not match %s"):format(rule.pattern)
    end
    local size, unit = measure(kind, value), kind == "string" and " characters" or ""
    if rule.min and size < measure(kind == "duration" and kind, rule.min) then
        return ("is less than %s%s"):format(rule.min, unit)
    elseif rule.max and size > measure(kind == "duration" and kind, rule.max) then
        return ("is more than %s%s"):format(rule.max, unit)
    end
end

local function fits(kind, value)
    if kind == "integer" then return math.type(value) == "integer" end
    if kind == "duration" then return units.duration(value) ~= nil end
    return type(value) == kind
end

-- The header's `inputs`, checked: name → { type, … }.
function inputs.declare(given, where)
    local rules = {}
    for name, rule in pairs(given or {}) do
        local at = ("%s: input %q"):format(where, tostring(name))
        if type(name) ~= "string" or not name:match("^%a[%w_]*$") then
            options.refuse(at, "a name is letters, digits and _")
        end
        rule = options.check(rule, SPEC, at)
        local kind = rule.type or (rule.one_of and "one_of") or "string"
        if not TYPES[kind] then
            local hint = host.suggest(kind, { "string", "integer", "number", "boolean", "duration", "one_of" })
            options.refuse(at, ("there is no type %q%s"):format(kind, hint and ": " .. hint or ""))
        elseif kind == "one_of" and not (rule.one_of and #rule.one_of > 0) then
            options.refuse(at, "type one_of needs one_of = { … }")
        elseif rule.pattern and (kind ~= "string" or not pcall(string.find, "", rule.pattern)) then
            options.refuse(at, "pattern is a Lua pattern, for a string")
        end
        if kind == "one_of" then
            kind = math.type(rule.one_of[1]) == "integer" and "integer" or type(rule.one_of[1])
        end
        rule.type = kind
        for _, limit in ipairs { "min", "max" } do
            if rule[limit] and (kind == "duration") ~= (type(rule[limit]) == "string") then
                options.refuse(at, ("%s is a %s"):format(limit, kind == "duration" and "duration" or "number"))
            elseif kind == "duration" and rule[limit] and not units.duration(rule[limit]) then
                options.refuse(at, ("%s: %s"):format(limit, select(2, units.duration(rule[limit]))))
            end
        end
        if rule.default ~= nil then
            local wrong = not fits(rule.type, rule.default) and "is no " .. rule.type or problem(rule, rule.default)
            if wrong then options.refuse(at, ("its default %s %s"):format(tostring(rule.default), wrong)) end
        end
        rules[name] = rule
    end
    return rules
end

local function names(rules)
    local list = {}
    for name in pairs(rules) do list[#list + 1] = name end
    table.sort(list)
    return list
end

-- The values of a new run from `set`, a list of "name=value". Raises one error with every problem.
function inputs.read(rules, set, where)
    local values, problems, seen = {}, {}, {}
    for _, text in ipairs(set or {}) do
        local name, value = text:match("^([^=]+)=(.*)$")
        local rule = name and rules[name]
        if not name then
            problems[#problems + 1] = ("--set %s: write --set name=value"):format(text)
        elseif not rule then
            local hint = host.suggest(name, names(rules))
            problems[#problems + 1] = ("there is no input %q%s"):format(name, hint and ": " .. hint or "")
        elseif seen[name] then
            problems[#problems + 1] = ("%s is set twice"):format(name)
        else
            seen[name] = true
            local read, wanted = readers[rule.type](value)
            local wrong = read == nil and "is not " .. wanted or problem(rule, read)
            if wrong then
                problems[#problems + 1] = ("%s = %q %s%s"):format(name, value, wrong,
                    rule.help and " (" .. rule.help .. ")" or "")
            end
            values[name] = read
        end
    end
    for _, name in ipairs(names(rules)) do
        local rule = rules[name]
        if not seen[name] then
            values[name] = rule.default
            if rule.default == nil then
                problems[#problems + 1] = ("%s is missing: give --set %s=…%s"):format(name, name,
                    rule.help and " (" .. rule.help .. ")" or "")
            end
        end
    end
    if #problems > 0 then options.refuse(where, table.concat(problems, "; ")) end
    return values
end

return inputs
