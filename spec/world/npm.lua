-- Servers and tools that only npm has, at the versions of vendor/npm, kept in build/npm from one run to the next.
local uv = require "luv"
local files = require "spec.world.files"
local process = require "spec.world.process"

local M = {}

local function run(command)
    local result = process.run(command)
    if result.code ~= 0 then
        error(table.concat(command, " ") .. ":\n" .. result.out .. result.err, 3)
    end
end

local function version_of(name)
    for line in io.lines("vendor/npm") do
        local package, version = line:match("^(%S+)%s+(%S+)$")
        if package == name then
            return version
        end
    end
    error(name .. " is not in vendor/npm", 3)
end

-- Makes sure that there is an npm.
function M.here()
    if process.run({ "sh", "-c", "command -v npm" }).code ~= 0 then
        run { "vendor/install", "node", timeout = 600 }
    end
end

-- The folder node_modules that holds these packages, installed if it is not there: whole, since several specs may be at it.
function M.modules(names)
    local wanted = {}
    for i, name in ipairs(names) do
        wanted[i] = name .. "@" .. version_of(name)
    end
    local home = ("%s/npm/%s"):format(os.getenv("ROLLOUTHOST_BUILD") or "build",
        (table.concat(wanted, "+"):gsub("/", "-"):gsub("@(%d)", "-%1"):gsub("@", "")))
    if not uv.fs_stat(home) then
        M.here()
        local temp = files.temp()
        local command = { "npm", "install", "--prefix", temp, "--no-audit", "--no-fund", "--ignore-scripts",
            "--legacy-peer-deps", timeout = 600 }
        run(table.move(wanted, 1, #wanted, #command + 1, command))
        run { "mkdir", "-p", (home:gsub("/[^/]*$", "")) }
        run { "sh", "-c", 'cp -r "$1" "$2.$$" && { mv -T "$2.$$" "$2" 2>/dev/null || rm -r "$2.$$"; }', "sh", temp, home }
    end
    return uv.fs_realpath(home) .. "/node_modules"
end

-- Where that package lies.
function M.package(name)
    return M.modules { name } .. "/" .. name
end

return M
