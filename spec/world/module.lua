-- A native module that a spec writes in Lua: built as the shipped ones are, found by $ROLLOUTHOST_MODULES.
local files = require "spec.world.files"
local process = require "spec.world.process"

local SOURCE = [[
#include "core/module.h"

static int open_nothing(lua_State *L)
{
    lua_newtable(L);
    return 1;
}

RH_MODULE("%s", open_nothing, NULL);
]]

local function must(command)
    local result = process.run(command)
    assert(result.code == 0, table.concat(command, " ") .. "\n" .. result.err)
end

local module = {}

-- sugar: the text of its Lua part (docs/design.md, "A module"). Returns the folder that $ROLLOUTHOST_MODULES names.
function module.build(name, sugar, folder)
    folder = folder or files.temp()
    local path = folder .. "/" .. name
    files.write(path .. ".lua", sugar)
    files.write(path .. ".c", SOURCE:format(name))
    must { "lua5.4", "mk/compile.lua", "rollout." .. name, path .. ".lua", path .. ".luac" }
    must { "gcc", "-shared", "-fPIC", "-Ihost", ('-DRH_MODULE_LUA="%s"'):format(folder), "-o", path .. ".so", path .. ".c" }
    os.remove(path .. ".lua") -- a shipped module in Lua would be found by it
    return folder
end

return module
