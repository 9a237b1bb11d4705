-- The recorded reads that top-level code may do: secret, env.require, asset.
local host = require "lang.host"
local engine = require "lang.engine"
local options = require "lang.options"
local urls = require "lang.urls"

local variables = {}

local SPEC = {
    format = "string", min = "integer", max = "integer", pattern = "string", one_of = "table", equals = "any",
    differs = "string", optional = "boolean", public = "boolean", help = "string",
}

-- Formats that are not URLs: text → value, or nil and what is wanted.
local formats = {
    integer = function(text)
        return math.tointeger(text:match("^[-+]?%d+$") and tonumber(text)), "an integer"
    end,
    number = function(text) return text:match("^[-+]?%.?%d") and tonumber(text) or nil, "a number" end,
    boolean = function(text)
        local value = ({ ["true"] = true, yes = true, on = true, ["1"] = true,
            ["false"] = false, no = false, off = false, ["0"] = false })[text:lower()]
        return value, "true or false"
    end,
    email = function(text) return text:match("^[^%s@]+@[%w.-]+%.%a+$"), "an e-mail address" end,
}
local PUBLIC = { integer = true, number = true, boolean = true }

local function format_names()
    local list = {}
    for name in pairs(formats) do list[#list + 1] = name end
    for name in pairs(urls.schemes) do list[#list + 1] = name end
    table.sort(list)
    return list
end

-- What is wrong with a text, or nil and its value. A secret's text is never quoted.
local function judge(name, rule, text)
    local value = text
    if formats[rule.format] then
        local wanted
        value, wanted = formats[rule.format](text)
        if value == nil then return "is not " .. wanted end
    elseif rule.format then
        local url, why = urls.parse(text, rule.format)
        if not url then return why end
        value = url
    end
    local length = utf8.len(text) or #text
    if rule.min and length < rule.min then
        return ("has %d characters, at least %d are needed"):format(length, rule.min)
    elseif rule.max and length > rule.max then
        return ("has %d characters, at most %d are allowed"):format(length, rule.max)
    elseif rule.pattern and not text:find(rule.pattern) then
        return "does not match " .. rule.pattern
    elseif rule.equals ~= nil and text ~= tostring(rule.equals) then
        return "is not " .. tostring(rule.equals)
    end
    if rule.one_of then
        for _, one in ipairs(rule.one_of) do
            if tostring(one) == text then return nil, value end
        end
        local names = {}
        for i, one in ipairs(rule.one_of) do names[i] = tostring(one) end
        return "is none of " .. table.concat(names, ", ")
    end
    if rule.differs then
        local path = rule.differs
        if path:sub(1, 1) ~= "/" then path = host.run.start_dir .. "/" .. path end
        local other, why = host.variable_in(path, name)
        if why then return why end
        if other == text then
            return "is the same as in " .. rule.differs .. ", and must differ"
        end
        local theirs = type(value) == "table" and value.password and other and urls.parse(other, rule.format)
        if theirs and theirs.password and urls.decode(theirs.password) == urls.decode(value.password) then
            return "has the same password as in " .. rule.differs .. ", and must differ"
        end
    end
    return nil, value
end

local function is_public(rule)
    return rule.public or rule.one_of ~= nil or rule.equals ~= nil or PUBLIC[rule.format] or false
end

-- A URL's password alone is secret: what is around it may be shown.
local function url_value(name, text, url)
    if not url.password then return text end
    local secret = host.make_secret(name, url.password)
    local plain = urls.decode(url.password)
    if plain ~= url.password and #plain >= 6 then host.make_secret(name .. " decoded", plain) end
    return url.before .. secret .. url.after
end

local function reveal(name, rule, text, value)
    if is_public(rule) then
        if formats[rule.format] then return value end
        return text
    end
    if type(value) == "table" then return url_value(name, text, value) end
    return host.make_secret(name, text)
end

-- A plan needs no secrets and no settings: something of the same form stands in, and the plan says so.
local function stand_in(name, rule)
    local text = name .. " is not set"
    host.say("plan", engine.scope().key, { kind = "guess", depth = 0, line = engine.blame(),
        text = text .. ": the plan goes on with something of its form" })
    if rule.one_of then return rule.one_of[1] end
    if rule.equals ~= nil then return rule.equals end
    if PUBLIC[rule.format] then return select(2, judge(name, { format = rule.format }, "1")) end
    local plain = name:lower():gsub("_", "-")
    if urls.schemes[rule.format] then
        return ("%s://%s.invalid/unset"):format(urls.schemes[rule.format][1], plain)
    end
    -- Of a form that a host, a project, a bucket or a unit may have: modules look at it.
    if rule.public then return rule.format == "email" and plain .. "@unset.invalid" or "unset-" .. plain end
    return host.make_secret(name, "stands in for " .. name)
end

-- One variable: its value, or nil and the problem.
local function read(name, rule)
    local text, origin = host.variable(name)
    if text == nil or text == "" then
        if rule.optional then return nil end
        if engine.mode() == "plan" then return stand_in(name, rule) end
        return nil, (text and "is empty" or "is not set") .. (rule.help and " (" .. rule.help .. ")" or "")
    end
    local wrong, value = judge(name, rule, text)
    if wrong then return nil, ("%s (from %s)"):format(wrong, origin) end
    local ok, made = pcall(reveal, name, rule, text, value)
    if not ok then
        return nil, type(made) == "table" and made.message or tostring(made)
    end
    return made
end

local function rules_of(given)
    if type(given) ~= "table" or next(given) == nil then
        options.refuse("env.require", "takes a table: env.require { DATABASE_URL = { format = \"mysql\" } }")
    end
    local rules, names = {}, {}
    for name, rule in pairs(given) do
        if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
            options.refuse("env.require", ("%q is no name of a variable: write NAME = { … }"):format(tostring(name)))
        end
        local where = ("env.require: %s"):format(name)
        rules[name] = options.check(rule, SPEC, where)
        local format = rules[name].format
        if format and not formats[format] and not urls.schemes[format] then
            local hint = host.suggest(format, format_names())
            options.refuse(where, ("there is no format %q%s"):format(format, hint and ": " .. hint
                or "; there are " .. table.concat(format_names(), ", ")))
        elseif rules[name].pattern and not pcall(string.find, "", rules[name].pattern) then
            options.refuse(where, "pattern is no Lua pattern")
        end
        names[#names + 1] = name
    end
    table.sort(names)
    return rules, names
end

local function key_of(name, rule)
    return "variable." .. name .. (rule.format and ":" .. rule.format or "")
end

-- The public value that this run began with, or nil: a resumed run goes on with it, wherever it is resumed.
local function began_with(name, rule)
    local seen = engine.recall("variable", key_of(name, rule))
    if seen then return seen.value end
end

-- Records a value that was read; of a secret its fingerprint, so that a resumed run can say that it was changed.
local function remember(name, rule, value)
    local key = key_of(name, rule)
    if not host.is_secret(value) then return engine.record("variable", key, { value = value }) end
    local print = host.fingerprint(value)
    local seen = engine.recall("variable", key)
    if not seen then
        engine.record("variable", key, { fingerprint = print })
    elseif seen.fingerprint ~= print then
        host.say("warning", key, { text = name .. " has another value than when the run began" })
    end
end

local function require_all(given)
    local rules, names = rules_of(given)
    local values, problems = {}, {}
    for _, name in ipairs(names) do
        local rule = rules[name]
        local value = began_with(name, rule)
        if value == nil then
            local wrong
            value, wrong = read(name, rule)
            if wrong then
                problems[#problems + 1] = name .. " " .. wrong
            elseif value ~= nil and engine.mode() ~= "plan" then
                remember(name, rule, value)
            end
        end
        values[name] = value
    end
    if #problems > 0 then
        options.refuse("env.require", ("%d of %d variables %s not as required:\n  %s"):format(#problems, #names,
            #problems == 1 and "is" or "are", table.concat(problems, "\n  ")))
    end
    return setmetatable({}, {
        __index = function(_, key)
            if values[key] ~= nil then return values[key] end
            if rules[key] then return nil end
            local hint = host.suggest(tostring(key), names)
            options.refuse("env.require", ("%s was not required%s"):format(tostring(key), hint and ": " .. hint or ""))
        end,
        __newindex = function(_, key)
            options.refuse("env.require", tostring(key) .. ": what it returned is read-only")
        end,
        __pairs = function() return pairs(values) end,
        __metatable = false,
    })
end

engine.words.env = setmetatable({}, {
    __index = function(_, key)
        if key == "require" then return require_all end
        options.refuse("env", ("there is no env.%s: read variables with env.require { %s = {} }"):format(tostring(key),
            tostring(key)))
    end,
    __newindex = function() options.refuse("env", "is read-only") end,
    __metatable = false,
})

-- secret "NAME", or secret { "NAME", command = { "op", "read", … } }: what a password manager prints, where nothing
-- else has it.
engine.verb("secret", function(given)
    local name, command = given, nil
    if type(given) == "table" then
        local opts = options.check(given, { [1] = { "string", required = true }, command = { "table", required = true } },
            "secret")
        name, command = opts[1], opts.command
    end
    if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
        options.refuse("secret", "takes a name: secret \"SLACK_WEBHOOK_URL\"")
    end
    local where = ("secret %q"):format(name)
    for i = 1, command and math.max(#command, 1) or 0 do
        if type(command[i]) ~= "string" then options.refuse(where, "its command is a list of texts") end
    end
    local value = host.secret(name)
    if value == nil and engine.mode() == "plan" then return stand_in(name, {}) end
    if value == nil and command then
        engine.commanded = true
        return host.secret_command(name, command)
    end
    if value == nil then
        options.refuse(where, "is not set: give it in the environment, in $CREDENTIALS_DIRECTORY/" .. name
            .. " or with --env-file")
    end
    return value
end)

-- A file beside the playbook, kept with the run's sources: its text.
engine.verb("asset", function(path)
    if type(path) ~= "string" or path == "" then
        options.refuse("asset", "takes a path beside the playbook: asset \"check.sql\"")
    elseif path:sub(1, 1) ~= "/" then
        path = (host.run.playbook:match("^(.*)/[^/]*$") or ".") .. "/" .. path
    end
    return (host.source(path))
end)

return variables
