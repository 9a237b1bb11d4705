-- What a playbook sees: the basics, the words of the language, require, and good advice for everything that is not there.
local host = require "lang.host"
local engine = require "lang.engine"

local environment = {}

local INSTEAD = {
    io = "files are effects: use require \"rollout.fs\"", os = "use run.now(), require \"rollout.sh\" and env.require",
    print = 'use note("…"), which stands in the journal', dofile = "use require", loadfile = "use require",
    package = "use require", debug = "there is no debug library", collectgarbage = "memory is the host's business",
    warn = 'use note("…")', arg = "use --set and run.inputs",
}

-- ---- random numbers, the same in every replay ----

local function seed_of(scope)
    local text = host.sha256((host.run.id or "") .. "\0" .. scope.key)
    return tonumber(text:sub(1, 15), 16)
end

local function next_random(scope) -- splitmix64
    scope.random = (scope.random or seed_of(scope)) + 0x9e3779b97f4a7c15
    local z = scope.random
    z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ~ (z >> 27)) * 0x94d049bb133111eb
    return z ~ (z >> 31)
end

local function random(low, high)
    local bits = next_random(engine.scope())
    if not low then
        return (bits >> 11) * 2.0 ^ -53
    end
    if not high then
        low, high = 1, low
    end
    if math.type(low) ~= "integer" or math.type(high) ~= "integer" or low > high then
        error("math.random takes integers, the smaller first", 2)
    end
    return low + math.floor((bits >> 11) * 2.0 ^ -53 * (high - low + 1))
end

-- ---- require ----

local loaded, loading = {}, {}

local function run_chunk(text, name, env, ...)
    local chunk, why = load(text, name, "t", env)
    if not chunk then
        local where, message = why:match("^(.-:%d+): (.*)$")
        engine.fail("syntax", (where and where .. ": " or "") .. (message or why))
    end
    return chunk(...)
end

-- What it asks for while it loads (rt.at_run_end) is the module's.
local function load_as(name, fn, ...)
    local around = engine.loading
    engine.loading = name
    return engine.finally(function() engine.loading = around end, fn, ...)
end

local function native_module(name)
    local native, sugar = host.module(name)
    if native == nil then
        return nil
    end
    engine.rt.natives[name] = native
    return load_as(name, assert(load(sugar, name, "b", setmetatable({}, { __index = _G }))), native, engine.rt)
end

-- By its name, not as a file's: what it does is blamed on the playbook's line that called it.
local function shipped_module(name)
    local path = host.module_path(name .. ".lua")
    if path then
        return load_as(name, run_chunk, host.source(path), "=modules/lib/" .. name .. ".lua", environment.env, "rollout." .. name,
            engine.rt)
    end
end

local function folder_of(path)
    return path:match("^(.*)/[^/]*$") or "."
end

--- Where modules are looked for besides the playbook's folder: a resumed run looks where it did before.
function environment.module_path()
    local begun = host.run.resumed and host.recall("run.start", "")
    if begun then
        return begun.module_path
    end
    return host.getenv("ROLLOUTHOST_PATH")
end

local function team_module(name)
    local file = name:gsub("%.", "/") .. ".lua"
    local tried = {}
    local folders = { folder_of(host.run.playbook) .. "/modules" }
    for folder in (environment.module_path() or ""):gmatch("[^:]+") do
        folders[#folders + 1] = folder
    end
    for _, folder in ipairs(folders) do
        local path = folder .. "/" .. file
        if host.exists_source(path) then
            return run_chunk(host.source(path), "@" .. path, environment.env, name)
        end
        tried[#tried + 1] = path
    end
    engine.fail("module", string.format("there is no module %q: looked for %s", name, table.concat(tried, ", ")))
end

-- What a module has not is a slip of the pen.
local function strict(name, module)
    if type(module) ~= "table" or getmetatable(module) ~= nil then
        return module
    end
    return setmetatable(module, { __name = name, module = true, __index = function(_, key)
        local list = {}
        for one in next, module do
            list[#list + 1] = tostring(one)
        end
        local hint = host.suggest(tostring(key), list)
        engine.fail("undefined", string.format("%s has no %q%s", name, tostring(key), hint and ": " .. hint or ""))
    end })
end

local function rollout_module(name)
    local value = native_module(name)
    if value == nil then
        value = shipped_module(name)
    end
    if value == nil then
        local hint = host.suggest(name, host.module_names())
        engine.fail("module", string.format("there is no module %q%s", "rollout." .. name, hint and ": " .. hint or ""))
    end
    return strict("rollout." .. name, value)
end

function environment.require(name)
    if type(name) ~= "string" or not name:match("^[%w_][%w_%.%-]*$") then
        engine.fail("usage", 'require takes a module\'s name: require "rollout.http"')
    end
    if loaded[name] ~= nil then
        return loaded[name]
    end
    if loading[name] then
        engine.fail("module", string.format("module %q requires itself", name))
    end
    loading[name] = true
    local shipped = name:match("^rollout%.(.+)$")
    local ok, value = pcall(shipped and rollout_module or team_module, shipped or name)
    loading[name] = nil
    if not ok then
        error(value, 0)
    end
    loaded[name] = value == nil and true or value
    return loaded[name]
end

-- ---- the globals ----

local function names_of(env)
    local names = {}
    for name in pairs(env) do
        names[#names + 1] = name
    end
    return names
end

local function undefined(env, name)
    name = tostring(name)
    if INSTEAD[name] then
        engine.fail("undefined", string.format("%q is not there in a playbook: %s", name, INSTEAD[name]))
    end
    local hint = host.suggest(name, names_of(env))
    engine.fail("undefined", string.format("%q is not defined%s", name, hint and ": " .. hint or ""))
end

-- What a body wrote into a library would be missing in a resumed run.
local function sealed(name, library)
    return setmetatable({}, {
        __index = library,
        __newindex = engine.boundary(function(_, key)
            engine.fail("undefined", string.format("%s.%s cannot be assigned: write a local function", name, tostring(key)))
        end),
        __pairs = function() return pairs(library) end,
        __metatable = false,
    })
end

function environment.build()
    local libraries = {}
    local env = host.basics()
    if engine.mode() == "plan" then
        env.ipairs = require("lang.unknown").ipairs
    end
    for name, word in pairs(engine.words) do
        env[name] = type(word) == "function" and engine.boundary(word) or word
    end
    for _, name in ipairs { "string", "table", "math", "utf8", "coroutine" } do
        libraries[name] = env[name]
    end
    env.require = engine.boundary(environment.require)
    env.math.random = random
    env.math.randomseed = function() end
    env.load = function(text, name, _, own)
        if type(text) ~= "string" then
            return nil, "load takes text here"
        end
        return load(text, name or "=load", "t", own or env)
    end
    for name, library in next, libraries do
        env[name] = sealed(name, library)
    end
    env._G = env
    environment.env = setmetatable(env, {
        __index = engine.boundary(undefined),
        __newindex = engine.boundary(function(_, name)
            engine.fail("undefined", string.format("%q is assigned and was never declared: write `local %s`", tostring(name),
                tostring(name)))
        end),
        __metatable = false,
    })
    return env
end

--- Loads and runs the playbook itself; returns what its file returns.
function environment.play(path)
    return run_chunk(host.source(path), "@" .. path, environment.env)
end

return environment
