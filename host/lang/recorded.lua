-- What a module finds recorded of the run that it is part of.
local host = require "lang.host"

local recorded = {}

--- The effects of that name that have ended well, of earlier processes too, in the order in which they ended:
--- { key, time (ms), result, describe }. Of a secret result nothing is kept: `result` is nil.
function recorded.effects(name)
    local described, list = {}, {}
    for _, event in ipairs(host.history "effect.begin") do
        described[event.key] = event.payload.effect == name and (event.payload.describe or name) or nil
    end
    for _, event in ipairs(host.history "effect.end") do
        if described[event.key] and event.payload.status == "ok" then
            list[#list + 1] = { key = event.key, time = event.time, result = event.payload.value,
                describe = described[event.key] }
        end
    end
    return list
end

return recorded
