-- See leaks.watch. Needles come on standard input as lines "HEX WHERE", an empty line ends them; the end of the
-- input ends the watch.
local uv = require "luv"
local leaks = require "spec.world.leaks"

local needles, told = {}, {}
for line in io.lines() do
    local text, where = line:match("^(%x+) (.*)$")
    if not text then break end
    needles[#needles + 1] = { where = where, text = text:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end) }
end

local function say(line)
    if not told[line] then
        told[line] = true
        io.write(line, "\n")
    end
end

local function read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("a")
    if file then file:close() end
    return text or ""
end

local function look(text, place)
    for _, one in ipairs(leaks.search(text, needles, place)) do
        say("leak " .. one)
    end
end

local me = tostring(uv.os_getpid())

local function look_at_processes()
    local scan = uv.fs_scandir("/proc")
    for pid in function() return uv.fs_scandir_next(scan) end do
        if pid:find("^%d+$") and pid ~= me then
            local folder = "/proc/" .. pid
            local arguments = read(folder .. "/cmdline")
            look(arguments, "the arguments of " .. arguments:sub(1, 60):gsub("[%c\n]", " "))
            local path, program = (uv.fs_readlink(folder .. "/exe") or ""):match("^(.*)/(rollouthost[^/]*)$")
            if path == arg[2] then
                local cores = read(folder .. "/limits"):match("Max core file size%s+(%d+)")
                say("saw " .. program)
                if cores == "0" then
                    say("saw " .. program .. " without cores")
                end
                look(read(folder .. "/environ"), "the environment of " .. program)
            end
        end
    end
end

local ended = false
local input = uv.new_pipe()
input:open(0)
input:read_start(function(_, bytes) ended = ended or not bytes end)
io.write("watching\n")
io.flush()

local rounds = 0
repeat
    look_at_processes()
    for _, one in ipairs(leaks.search_tree(arg[1], needles)) do
        say("leak " .. one)
    end
    rounds = rounds + 1
    io.flush()
    uv.run("nowait")
until ended
io.write("rounds ", rounds, "\n")
