-- Whether a container does what it is for: judged by its state, waited for, and said with its own last words where not.
local native, rt, engine, output = ...

local M = {}

local FIRST_MS, SLOWEST_MS = 50, 500
local STEADY_MS = 1000 -- what has no health check is up when it has been for so long

--- What the engine tells of a container, or an error, code "no_container".
function M.inspect(of, id)
    local _, found = engine.ask(of, { path = "/containers/" .. engine.escaped(id) .. "/json", missing = "no_container",
        doing = "look at the container " .. id })
    return found
end

--- "healthy" | "running" (no health check) | "waiting" | "completed" (exit 0, and not to be started again) | "failed",
--- and in words.
function M.judge(found)
    local state = found.State
    local health = state.Health and state.Health.Status ~= "none" and state.Health.Status or nil
    local policy = found.HostConfig.RestartPolicy
    local restarts = policy and policy.Name ~= "" and policy.Name or "no"
    if state.Status == "running" and not state.Paused then
        if health == "healthy" then
            return "healthy", "healthy"
        elseif health == "unhealthy" then
            return "failed", "unhealthy"
        elseif health then
            return "waiting", "running, and its health check has not passed yet"
        end
        return "running", "running, without a health check"
    elseif state.Status == "created" or state.Status == "restarting" then
        return "waiting", state.Status
    elseif state.Status == "exited" and state.ExitCode == 0 and (restarts == "no" or restarts == "on-failure") then
        return "completed", "exited with 0"
    elseif state.Status == "exited" and (restarts == "always" or restarts == "unless-stopped") then
        return "failed", ("stopped (exit %d)"):format(state.ExitCode)
    end
    local how = state.OOMKilled and "out of memory" or state.Error ~= "" and state.Error or nil
    return "failed", ("%s with %s%s"):format(state.Status, tostring(state.ExitCode), how and ": " .. how or "")
end

-- What its health check printed last.
local function checked(found)
    local log = found.State.Health and found.State.Health.Log
    local last = log and log[#log]
    local said = last and last.Output and rt.last_lines(last.Output, 5) or ""
    return said ~= "" and ("; its health check (exit %s) said:\n  %s"):format(tostring(last.ExitCode), said) or ""
end

function M.name(found)
    return (found.Name:gsub("^/", ""))
end

--- What is to be known of one that failed: the end of a sentence, with its last lines.
function M.why(of, found)
    return checked(found) .. output.said(of, found.Id, found.Config.Tty)
end

-- Whether a container without a health check has been up for long enough, with no start in between.
local function steady(since, found)
    local start = found.Id .. found.State.StartedAt
    since[start] = since[start] or rt.now()
    return rt.now() - since[start] >= STEADY_MS
end

--- Looks until none of the containers is waiting, or the time (ms) is up. → a list of { found, verdict, words }.
--- `stops`: whether one that failed ends the waiting at once.
function M.await(of, ids, within, stops)
    local deadline, pause, since = rt.now() + within, FIRST_MS, {}
    while true do
        local states, waiting, failed = {}, false, false
        for i, id in ipairs(ids) do
            local found = M.inspect(of, id)
            local verdict, words = M.judge(found)
            states[i] = { found = found, verdict = verdict, words = words }
            waiting = waiting or verdict == "waiting" or verdict == "running" and not steady(since, found)
            failed = failed or verdict == "failed"
        end
        local left = deadline - rt.now()
        if not waiting or failed and stops or left <= 0 then
            return states
        end
        native.sleep(math.min(pause, left))
        pause = math.min(pause * 2, SLOWEST_MS)
    end
end

--- Fails where one of them does not get there, code "exited", "unhealthy" or "timeout", with its last lines.
function M.need(of, ids, within, doing)
    for _, state in ipairs(M.await(of, ids, within, true)) do
        if state.verdict == "failed" or state.verdict == "waiting" then
            local code = state.verdict == "waiting" and "timeout" or state.words == "unhealthy" and "unhealthy" or "exited"
            rt.raise(code, ("docker: %s: %s is %s%s%s"):format(doing, M.name(state.found), state.words,
                code == "timeout" and " after " .. rt.show_duration(within) or "", M.why(of, state.found)),
                { container = state.found.Id, exit = state.found.State.ExitCode })
        end
    end
end

--- An expectation's fields of one container.
function M.measure(of, id, within)
    local state = M.await(of, { id }, within, true)[1]
    local verdict = state.verdict == "healthy" and "pass" or state.verdict == "running" and "unknown" or "fail"
    return {
        name = M.name(state.found) .. " is healthy", verdict = verdict, measured = state.words, limit = "healthy",
        detail = verdict == "fail" and M.why(of, state.found):gsub("^; ", "") or nil,
    }
end

return M
