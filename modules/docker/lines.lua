-- Logs of containers for rollout.log: whole lines with their times into a file. A container's log ends where its last line's time
-- is: by the engine's clock, to the nanosecond, and so another line is never taken for it.
local _, rt, engine, output, health, container = ...

local M = {}

local PROJECT, SERVICE, ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"
local STAMP = "^%d+%-%d+%-%d+T[%d:]+%.?%d*Z?[%+%-%d:]*"

-- The containers that `of` means: { engine, name }, or { engine, project, service }.
local function meant(of)
    if of.name then
        return { health.inspect(of.engine, of.name).Id }
    end
    local ids = {}
    for _, one in ipairs(container.listed(of.engine, true, { label = { PROJECT .. "=" .. of.project,
        SERVICE .. "=" .. of.service } })) do
        if one.labels[ONE_OFF] ~= "True" then
            ids[#ids + 1] = one.id
        end
    end
    if #ids == 0 then
        rt.raise("no_container", ("docker: the project %s has no container of %s"):format(of.project, of.service))
    end
    return ids
end

-- "2026-11-20T16:00:00.123456789Z", `later` nanoseconds later, as the engine wants it: seconds since 1970 and their fraction.
local function seconds(stamp, later)
    local whole = rt.require("time").parse(stamp) // 1000
    local nanos = (tonumber(((stamp:match("%.(%d+)") or "") .. "000000000"):sub(1, 9)) or 0) + later
    return ("%d.%09d"):format(whole + nanos // 1000000000, nanos % 1000000000)
end

local function last_stamp(of, id, tty)
    local found = output.logs(of.engine, id, { tail = 1, timestamps = true, tty = tty, capture = 4096 })
    return (found.out .. found.err):match(STAMP) or false
end

--- Where their logs end: { [id] = the time of the last line, or false: there is none }. A container that is not there is not in it.
function M.ends(of)
    local ends = {}
    local ok, ids = pcall(meant, of)
    if not ok and ids.code ~= "no_container" then
        error(ids, 0)
    end
    for _, id in ipairs(ok and ids or {}) do
        ends[id] = last_stamp(of, id, health.inspect(of.engine, id).Config.Tty)
    end
    return ends
end

-- A log that was rotated has lost the line that it ended with.
local function is_there(of, id, tty, stamp)
    local at = seconds(stamp, 0)
    local found = output.logs(of.engine, id, { since = at, until_ = at, timestamps = true, tty = tty, capture = 4096 })
    return (found.out .. found.err):match(STAMP) == stamp
end

--- Adds to the file at `path` what they have printed since `ends`, all of it of a container that is not in there; or, where `ends`
--- is nil, since the time `from` (ms). Returns whether lines were lost in between.
function M.add(of, ends, from, path)
    local gap = false
    for _, id in ipairs(meant(of)) do
        local tty = health.inspect(of.engine, id).Config.Tty
        local stamp = ends and ends[id]
        if stamp then
            gap = gap or not is_there(of, id, tty, stamp)
        end
        local answer <close> = engine.open(of.engine, {
            path = "/containers/" .. engine.escaped(id) .. "/logs", framed = not tty, log = path, lines = true, stall = 30000,
            missing = "no_container", doing = "read the log of " .. (of.name or of.service),
            query = { stdout = true, stderr = true, timestamps = true, since = stamp and seconds(stamp, 1)
                or not ends and ("%.3f"):format(from / 1000) or nil },
        })
        for _ in answer.next do -- it is in the file
        end
    end
    return gap
end

return M
