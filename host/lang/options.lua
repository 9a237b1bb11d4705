-- Strict options: an unknown key is an error with a suggestion, a wrong type one that says what is wanted.
local host = require "lang.host"
local units = require "lang.units"
local unknown = require "lang.unknown"

local options = {}

-- What every verb of the language takes; the engine reads them.
options.common = {
    when = "any", only = "string|table", timeout = "duration", key = "string|integer",
    on_failure = { "string", one_of = { "rollback", "stage", "stop", "ask", "alert" } },
}

-- The names of the header's environments, once it is read: `only` names some of them.
options.environments = {}

local function refuse(where, message)
    require("lang.engine").fail("usage", where .. ": " .. message, { where = where })
end

local function a(word)
    return (word:match("^[aeiou]") and "an " or "a ") .. word
end

-- Each reads one type: → true and the value, or false and what is wrong.
local readers = {
    any = function(value) return true, value end,
    text = function(value) return type(value) == "string" or host.is_secret(value), value end,
    integer = function(value) return math.type(value) == "integer", value end,
    duration = function(value)
        local ms, why = units.duration(value)
        return ms ~= nil, ms or why
    end,
    size = function(value)
        local bytes, why = units.size(value)
        return bytes ~= nil, bytes or why
    end,
}
for _, name in ipairs { "string", "number", "boolean", "table", "function" } do
    readers[name] = function(value) return type(value) == name, value end
end

local function kind_of(value)
    if host.is_secret(value) then return "secret" end
    return math.type(value) or type(value)
end

-- Converts `value` to `kind` ("duration", "string|table", …): the value, or nil and what is wrong with it.
function options.convert(value, kind)
    if unknown.is(value) then return value end
    local why
    for one in kind:gmatch("[^|]+") do
        local reader = assert(readers[one], one)
        local ok, result = reader(value)
        if ok then return result end
        if type(result) == "string" and result ~= value then why = result end
    end
    if why then return nil, why end
    return nil, ("expects %s, not %s"):format(a(kind:gsub("|", " or ")), a(kind_of(value)))
end

local function names(spec, more)
    local list = {}
    for _, keys in ipairs { spec, more } do
        for key in pairs(keys) do
            if key ~= "body" then list[#list + 1] = tostring(key) end
        end
    end
    table.sort(list)
    return list
end

-- A misspelt environment would skip something without a word.
local function check_only(only, where)
    for _, name in ipairs(type(only) == "table" and only or { only }) do
        local known = #options.environments == 0
        for _, one in ipairs(options.environments) do known = known or one == name end
        if not known then
            local hint = host.suggest(tostring(name), options.environments)
            refuse(where, ("only: there is no environment %q%s"):format(tostring(name), hint and ": " .. hint
                or "; there are " .. table.concat(options.environments, ", ")))
        end
    end
end

-- Checks `given` (a table or nil) against `spec` { name = "type" | { "type", required=, default=, one_of= } }
-- and returns a new table with the values converted. `where` begins the error's message: `step "migrate"`. `more` is
-- a second spec, without defaults: every verb's common options.
function options.check(given, spec, where, more)
    if given == nil then given = {} end
    if type(given) ~= "table" or unknown.is(given) then
        refuse(where, "options are a table, not " .. a(kind_of(given)))
    end
    local result = {}
    for key, value in pairs(given) do
        local rule = spec[key] or more and more[key]
        if not rule then
            local hint = type(key) == "string" and host.suggest(key, names(spec, more))
            refuse(where, type(key) == "string"
                and ("unknown option %q%s"):format(key, hint and ": " .. hint or
                    "; it takes " .. table.concat(names(spec, more), ", "))
                or ("unexpected value at position %s; it takes %s by name"):format(tostring(key),
                    table.concat(names(spec, more), ", ")))
        end
        local kind = type(rule) == "table" and rule[1] or rule
        local converted, why = options.convert(value, kind)
        if why then refuse(where, ("%s: %s"):format(key, why)) end
        local allowed = type(rule) == "table" and rule.one_of
        if allowed and not unknown.is(converted) then
            local found = false
            for _, one in ipairs(allowed) do found = found or one == converted end
            if not found then
                local hint = host.suggest(tostring(converted), allowed)
                refuse(where, ("%s: %q is none of %s%s"):format(key, tostring(converted),
                    table.concat(allowed, ", "), hint and "; " .. hint or ""))
            end
        end
        result[key] = converted
    end
    local missing
    for key, rule in next, spec do -- in no order: it costs each of 10,000 steps less than pairs
        if type(rule) == "table" and result[key] == nil then
            if rule.required and (not missing or tostring(key) < missing) then missing = tostring(key) end
            result[key] = rule.default
        end
    end
    if missing then refuse(where, missing .. " is missing") end
    if result.only then check_only(result.only, where) end
    return result
end

-- Sorts out the arguments of a verb, `verb(name, [opts], body)`, and checks its options against `spec`
-- and the common ones. → opts, body
function options.verb(verb, name, opts, body, spec)
    if type(name) ~= "string" or name == "" then
        refuse(verb, ("the first argument is its name, a text, not %s"):format(name == "" and "an empty one" or a(kind_of(name))))
    end
    local where = ("%s %q"):format(verb, name)
    if body == nil and type(opts) == "function" then opts, body = nil, opts end
    if spec.body ~= false and type(body) ~= "function" then
        refuse(where, ("needs a function: %s(name, [options], function() … end)"):format(verb))
    end
    local checked = options.check(opts, spec, where, options.common)
    return checked, body
end

options.refuse = refuse

return options
