-- Processes for specs, on libuv: run one to its end, or talk to one that keeps running. Whatever a spec starts is
-- ended with the test, or the file, that started it.
local uv = require "luv"
local cleanup = require "spec.world.cleanup"

local M = {}

-- Seconds until what does not happen counts as hung: long, so that a busy machine is not taken for one.
local HANGS_S = 60

local Process = {}
Process.__index = Process

local function environment(changes)
    local env = uv.os_environ()
    for name, value in pairs(changes or {}) do
        env[name] = value or nil
    end
    local list = {}
    for name, value in pairs(env) do
        list[#list + 1] = name .. "=" .. value
    end
    return list
end

-- Turns the loop until ready() is truthy; what it returned, or nil when the time is up.
function M.turn_until(ready, timeout)
    local deadline = uv.hrtime() + (timeout or HANGS_S) * 1e9
    local alarm = uv.new_timer()
    alarm:start(20, 20, function() end) -- ready() may look at more than this loop's events
    local result = ready()
    while not result and uv.hrtime() < deadline do
        uv.run("once")
        result = ready()
    end
    alarm:close()
    return result or nil
end

-- { "program", args…, env = {…}, cwd = …, input = text | true (kept open), detached = true }
function M.start(command)
    local process = setmetatable({ out = "", err = "", command = table.concat(command, " ") }, Process)
    local stdin = command.input and uv.new_pipe() or nil
    local stdout, stderr = uv.new_pipe(), uv.new_pipe()
    local handle, pid
    handle, pid = uv.spawn(command[1], {
        args = table.move(command, 2, #command, 1, {}),
        env = environment(command.env),
        cwd = command.cwd,
        detached = command.detached,
        stdio = { stdin, stdout, stderr },
    }, function(code, signal)
        process.code, process.signal = signal == 0 and code or 128 + signal, signal -- as a shell says it
        handle:close()
    end)
    if not handle then
        error(("cannot start %s: %s"):format(command[1], pid), 2)
    end
    process.pid, process.stdin, process.open = pid, stdin, 2
    local function reader(name, pipe)
        pipe:read_start(function(_, chunk)
            if chunk then
                process[name] = process[name] .. chunk
            else
                pipe:close()
                process.open = process.open - 1
            end
        end)
    end
    reader("out", stdout)
    reader("err", stderr)
    if type(command.input) == "string" then
        process:write(command.input)
        process:close_input()
    end
    cleanup.add(function()
        process:kill("sigkill")
        M.turn_until(function() return process.code end, 5)
    end)
    return process
end

function Process:write(text)
    self.stdin:write(text)
end

function Process:close_input()
    if self.stdin and not self.stdin:is_closing() then
        local stdin = self.stdin
        stdin:shutdown(function() stdin:close() end)
    end
end

function Process:kill(signal)
    if not self.code then
        uv.kill(self.pid, signal or "sigterm")
    end
end

-- Waits for its end and for the end of its output; an error if it does not come.
function Process:wait(timeout)
    timeout = timeout or 3 * HANGS_S
    if not M.turn_until(function() return self.code and self.open == 0 end, timeout) then
        self:kill("sigkill")
        error(("still running, or its output still open, after %g s: %s\n%s%s"):format(timeout, self.command,
            self.out, self.err), 2)
    end
    return self
end

-- Waits until its output matches; returns the match.
function Process:wait_for(pattern, timeout)
    local match = M.turn_until(function()
        local text = self.out .. self.err
        return text:match(pattern) or (self.code and self.open == 0 and "ended")
    end, timeout)
    local text = self.out .. self.err
    if not text:match(pattern) then
        error(("%s: no %q in the output of %s:\n%s"):format(match or "in vain", pattern, self.command, text), 2)
    end
    return match
end

-- Runs it to its end: { code, signal, out, err }.
function M.run(command)
    return M.start(command):wait(command.timeout)
end

return M
