-- Enough of `rt` to load a module's Lua in plain Lua 5.4: what is pure in it needs no host.
local units = assert(loadfile("host/lang/units.lua", "t"))()

local rt = { duration = units.duration, show_duration = units.show }

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

function rt.effect(def)
    return function(...)
        return def.call(def.args(...), {})
    end
end

function rt.is_secret()
    return false
end

rt.is_unknown = rt.is_secret

function rt.mode()
    return "run"
end

return function(name, native)
    return assert(loadfile("modules/" .. name .. "/" .. name .. ".lua", "t"))(native, rt)
end
