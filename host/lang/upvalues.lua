-- A body's only way out is its return value: what it assigns to a variable around it would be missing in a resumed run,
-- which does not execute the body again.
local engine = require "lang.engine"

local upvalues = {}

local function shallow(value)
    local meta = debug.getmetatable(value)
    if type(value) ~= "table" or meta and not meta.module then
        return nil
    end
    local copy, count = {}, 0
    for key, item in next, value do
        copy[key], count = item, count + 1
        if count > 1000 then
            return nil
        end
    end
    return copy
end

local function collect(fn, seen, list)
    local info = debug.getinfo(fn, "S")
    if seen[fn] or not (info.source:find "^@" or info.source:find "^=modules/lib/") then
        return list
    end
    seen[fn] = true
    for index = 1, 255 do
        local name, value = debug.getupvalue(fn, index)
        if not name then
            return list
        end
        if name ~= "_ENV" and not seen[debug.upvalueid(fn, index)] then
            seen[debug.upvalueid(fn, index)] = true
            list[#list + 1] = { fn = fn, index = index, name = name, value = value, content = shallow(value) }
            if type(value) == "function" then
                collect(value, seen, list)
            end
        end
    end
    return list
end

local function differs(before, now)
    for key, item in next, before do
        local other = rawget(now, key)
        if not rawequal(other, item) and (item == item or other == other) then -- NaN is as it was
            return true
        end
    end
    for key in next, now do
        if before[key] == nil then
            return true
        end
    end
    return false
end

function upvalues.check(scope, list)
    for _, entry in ipairs(list) do
        local _, now = debug.getupvalue(entry.fn, entry.index)
        if not rawequal(now, entry.value) and not (now ~= now and entry.value ~= entry.value) then
            engine.raise("upvalue", string.format("%s %q assigns to `%s`: return it instead (local x = %s(…)), or a resumed "
                .. "run would not have it", scope.kind, scope.name, entry.name, scope.kind))
        elseif entry.content and differs(entry.content, now) then
            engine.raise("upvalue", string.format("%s %q changes the table `%s` of the code around it: return what is new, "
                .. "or a resumed run would not have it", scope.kind, scope.name, entry.name))
        end
    end
end

--- The variables that `fn` and the playbook's functions it calls can assign, with their values now.
function upvalues.collect(fn)
    return collect(fn, {}, {})
end

return upvalues
