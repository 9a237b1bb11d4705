-- What a run costs that waits: memory, CPU, wake-ups; of the host and of its guardian.
local bench = require "spec.bench.bench"
local nginx = require "spec.world.nginx"
local process = require "spec.world.process"
local uv = require "luv"

local HEADER = 'playbook "wait" { environments = { "bench" } }\nstep("true", function() sh.run { "/bin/true" } end)\n'

local function sleep(ms)
    local timer, done = uv.new_timer(), false
    timer:start(ms, 0, function() done = true end)
    while not done do
        uv.run("once")
    end
    timer:close()
end

local function used(pid)
    local user, system = bench.proc(pid, "stat", "%) %S+ " .. ("%S+ "):rep(10) .. "(%d+) (%d+)")
    return { ticks = user + system, switches = tonumber(bench.proc(pid, "status", "\nvoluntary_ctxt_switches:%s+(%d+)")) }
end

local function resident(pid)
    return tonumber(bench.proc(pid, "status", "VmRSS:%s+(%d+)")) / 1024
end

local function wait(name, text, under, watched, steps)
    local command = bench.play(name, 'local sh = require "rollout.sh"\n' .. text .. HEADER .. (steps or "") .. 'wait "1h"\n')
    command.cwd = bench.folder
    local host = process.start(command)
    host:wait_for("WAIT", 20)
    sleep(500)
    local guardian = tonumber(bench.proc(host.pid, "task/" .. host.pid .. "/children", "%d+"))
    bench.row { what = "resident while waiting, " .. name, ours = resident(host.pid), unit = "MiB",
        under = under }
    if watched then
        bench.row { what = "resident while waiting, its guardian", ours = resident(guardian), unit = "MiB", under = 2 }
        local before = { used(host.pid), used(guardian) }
        sleep(10000)
        local after = { used(host.pid), used(guardian) }
        for i, who in ipairs { "host", "guardian" } do
            bench.row { what = "CPU ticks in 10 s of waiting, " .. who, ours = after[i].ticks - before[i].ticks, unit = "",
                under = 0 }
            bench.row { what = "wake-ups in 10 s of waiting, " .. who, ours = after[i].switches - before[i].switches,
                unit = "", under = 0 }
        end
    end
    host:kill("sigint")
    host:wait(20)
end

wait("plain", "", 6, true)
local LOAD = 'local http, mysql = require "rollout.http", require "rollout.mysql"\n'
wait("http and mysql loaded", LOAD, 12)
local server = nginx.start { http = 'server { listen 127.0.0.1:$port1; return 200 "hello"; }' }
wait("the same, after a GET", LOAD, 12, false, ('step("get", function() http.get "http://127.0.0.1:%d/" end)\n'):format(
    server.ports[1]))
