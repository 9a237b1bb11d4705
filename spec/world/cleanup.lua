-- What a test made is undone when it ends, also when it failed; what was made outside of a test (in `setup`), when
-- its file ends.
local busted = require "busted"
local uv = require "luv"

local M = {}
local scopes = { {} }

function M.add(undo)
    local scope = scopes[#scopes]
    scope[#scope + 1] = undo
end

local function close(scope)
    local problem
    for i = #scope, 1, -1 do
        local ok, message = pcall(scope[i])
        problem = problem or (not ok and message)
        scope[i] = nil
    end
    if problem then
        io.stderr:write("cleaning up: ", tostring(problem), "\n")
    end
end

busted.subscribe({ "test", "start" }, function()
    scopes[#scopes + 1] = {}
    return nil, true
end)

busted.subscribe({ "test", "end" }, function()
    close(table.remove(scopes))
    return nil, true
end)

busted.subscribe({ "file", "end" }, function()
    close(scopes[1])
    -- luv crashes in the interpreter's own exit if a handle is still open or closing then
    uv.walk(function(handle)
        if not handle:is_closing() then
            handle:close()
        end
    end)
    uv.run()
    return nil, true
end)

return M
