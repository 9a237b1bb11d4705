-- Temporary folders and files for specs.
local uv = require "luv"
local cleanup = require "spec.world.cleanup"

local M = {}

function M.remove(path)
    local scan = uv.fs_scandir(path)
    while scan do
        local name, kind = uv.fs_scandir_next(scan)
        if not name then
            break
        elseif kind == "directory" then
            uv.fs_chmod(path .. "/" .. name, tonumber("700", 8))
            M.remove(path .. "/" .. name)
        else
            uv.fs_unlink(path .. "/" .. name)
        end
    end
    uv.fs_rmdir(path)
end

-- A new folder, removed with the test.
function M.temp()
    local path = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/t-XXXXXX"))
    cleanup.add(function() M.remove(path) end)
    return path
end

function M.read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("a")
    file:close()
    return text
end

-- Writes a file, with its folders; returns its path.
function M.write(path, text, mode)
    local at = path:sub(1, 1) == "/" and "/" or ""
    for part in path:gmatch("([^/]+)/") do
        at = at .. part .. "/"
        uv.fs_mkdir(at, tonumber("755", 8))
    end
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
    if mode then
        assert(uv.fs_chmod(path, tonumber(mode, 8)))
    end
    return path
end

function M.exists(path)
    return uv.fs_stat(path) ~= nil
end

-- The names in a folder, sorted.
function M.list(path)
    local names = {}
    local scan = assert(uv.fs_scandir(path))
    for name in function() return uv.fs_scandir_next(scan) end do
        names[#names + 1] = name
    end
    table.sort(names)
    return names
end

return M
