-- For specs: the built binary as a user runs it, folders, processes and real servers. Everything is stopped and
-- removed with the test (or the file) that made it.
--
--   local t = require "spec.helper"
--   local result = t.host { "playbooks/x.lua", "--env", "staging", env = {…}, state = …, cwd = …, input = … }
--   assert.equal(0, result.code)
local uv = require "luv"
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local t = {
    temp = files.temp,
    read = files.read,
    write = files.write,
    list = files.list,
    exists = files.exists,
    remove = files.remove,
    run = process.run,
    start = process.start,
    serve = tcp.serve,
    free_port = tcp.free_port,
    accepts = tcp.accepts,
    finally = require("spec.world.cleanup").add,
    root = uv.cwd(),
}

t.build = uv.fs_realpath(os.getenv("ROLLOUTHOST_BUILD") or "build")
t.binary = t.build .. "/rollouthost"

local function host_command(command)
    local env = { ROLLOUTHOST_STATE = command.state or nil, NO_COLOR = "1" }
    for name, value in pairs(command.env or {}) do
        env[name] = value
    end
    local all = { t.binary, env = env, cwd = command.cwd, input = command.input, timeout = command.timeout,
        detached = command.detached }
    return table.move(command, 1, #command, 2, all)
end

-- Runs the host to its end: { code, signal, out, err }.
function t.host(command)
    return process.run(host_command(command))
end

-- Starts it: an object with pid, out, err, wait(), wait_for(pattern), kill(signal), write(text).
function t.start_host(command)
    return process.start(host_command(command))
end

-- The folder, named after the playbook, with the playbook in it; returns path, folder.
function t.playbook(text, name, folder)
    folder = folder or t.temp()
    return t.write(folder .. "/" .. (name or "playbook") .. ".lua", text), folder
end

-- Runs a playbook: what t.host returns, and `state`, `folder`, `events` (the decoded lines of --output json) and
-- `ended`: each unit's last X.end by its key.
function t.play(text, options)
    options = options or {}
    local path, folder = t.playbook(text, options.name, options.folder)
    local command = { path, "--output", "json", cwd = options.cwd or folder, env = options.env,
        state = options.state or folder .. "/state", timeout = options.timeout, input = options.input }
    table.move(options, 1, #options, #command + 1, command)
    local result = t.host(command)
    result.state, result.folder = command.state, folder
    return t.digest_events(result)
end

function t.digest_events(result)
    local json = require "dkjson"
    result.events, result.ended = {}, {}
    for line in result.out:gmatch("[^\n]+") do
        local event = json.decode(line)
        assert(event, "not a line of JSON: " .. line)
        result.events[#result.events + 1] = event
        if event.type:find("%.end$") then
            result.ended[event.key] = event.payload
        end
    end
    return result
end

local BODY = [[
local sh, fs, json, time = require "rollout.sh", require "rollout.fs", require "rollout.json", require "rollout.time"
playbook "spec" { environments = { "test" } }
local value = step("it", { timeout = "30s" }, function()
%s
end)
return value
]]

-- What became of the step "it" of a run: what it returned, or nil and the innermost error { code, message, … }; then the
-- run itself.
function t.outcome(result)
    local ended = result.ended.it
    if not ended then
        error("the step did not end: exit " .. tostring(result.code) .. "\n" .. result.out .. result.err, 3)
    end
    if ended.status == "ok" then
        return ended.value, nil, result
    end
    local problem = ended.error
    while problem.cause do
        problem = problem.cause
    end
    return nil, problem, result
end

-- Runs Lua as the body of a step, and tells what became of it.
function t.body(text, options)
    return t.outcome(t.play(BODY:format(text), options))
end

-- Waits until fn() is truthy and returns it; fails the test with `what` when the time is up.
function t.eventually(what, fn, timeout)
    local result = process.turn_until(fn, timeout)
    if not result then
        error("in vain: " .. what, 2)
    end
    return result
end

function t.mariadb(options)
    return require("spec.world.mariadb").start(options)
end

function t.postgres(options)
    return require("spec.world.postgres").start(options)
end

function t.nginx(options)
    return require("spec.world.nginx").start(options)
end

function t.certificates(folder)
    return require("spec.world.tls").make(folder or t.temp())
end

return t
