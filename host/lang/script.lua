-- `rollouthost lua FILE …`: plain Lua with rollout.*.
require "lang.rt"
require "lang.stage"
local environment = require "lang.environment"

--- private: the host's require; public: package's. Returns (path, arg) → the task's function.
return function(private, public)
    environment.env = _G
    function _G.require(name)
        if name:sub(1, 8) == "rollout." then
            return environment.require(name)
        elseif name:sub(1, 5) == "lang." then
            return private(name)
        end
        return public(name)
    end
    return function(path, arg)
        _G.arg = arg
        local chunk, why = loadfile(path ~= "-" and path or nil, "t")
        return function()
            if not chunk then
                error(why, 0)
            end
            return chunk(table.unpack(arg))
        end
    end
end
