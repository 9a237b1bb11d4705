-- Enough of `rt` to load a module's Lua in plain Lua 5.4: what is pure in it needs no host.
local units = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }

local rt = {}

function rt.raise(code, message)
    error(setmetatable({ code = code, message = message }, { __tostring = function(e) return e.message end }), 2)
end

function rt.options(given, spec, where)
    local result = {}
    for key, value in pairs(given) do
        if not spec[key] then
            rt.raise("usage", where .. ": unknown option " .. tostring(key))
        end
        result[key] = value
    end
    return result
end

function rt.duration(text)
    local number, unit = text:match("^(%d+)(%a+)$")
    return tonumber(number) * units[unit]
end

function rt.effect(def)
    return function(...)
        return def.call(def.args(...), {})
    end
end

function rt.is_secret()
    return false
end

function rt.mode()
    return "run"
end

return function(name, native)
    return assert(loadfile("modules/" .. name .. "/" .. name .. ".lua", "t"))(native, rt)
end
