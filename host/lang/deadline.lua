-- Deadlines: what runs inside of one is cancelled when it is reached, and of several the nearest counts. While an effect asks
-- a person, those of its step and of what is around it, up to the stage, stand still; the stage's goes on.
local host = require "lang.host"
local engine = require "lang.engine"
local units = require "lang.units"

local task = host.task

-- A task's locals.due is its innermost frame: { due = monotonic ms, around = frame, stage = it is a stage's }.
local function arm(frame)
    local nearest = false
    while frame do
        nearest = nearest and math.min(nearest, frame.due) or frame.due
        frame = frame.around
    end
    task.deadline(nearest)
end

local function limit(stage, ms, what, fn, ...)
    if not ms then
        return fn(...)
    end
    local outer = task.deadline()
    local frame = { due = host.mono() + ms, stage = stage }
    if outer and outer <= frame.due then
        return fn(...)
    end
    local locals = task.locals()
    local around = locals.due
    frame.around = around or nil
    locals.due = frame
    task.deadline(frame.due)
    local result = table.pack(pcall(engine.closed, fn, ...))
    locals.due = around
    task.deadline(outer or false)
    if around then
        arm(around) -- it may have been moved
    end
    if result[1] then
        return table.unpack(result, 2, result.n)
    end
    local err = result[2]
    if type(err) == "table" and err.code == "deadline" and host.mono() >= frame.due then
        err = engine.error("timeout", string.format("%s was not finished within %s and was cancelled", what,
            units.show(ms)), { where = engine.blame(), effect = err.effect })
    end
    error(err, 0)
end

--- Runs fn(…) under a deadline of `ms` from now (nil: none); its own expiry becomes an ordinary "timeout" error.
function engine.deadline(...)
    return limit(nil, ...)
end

--- The same for a stage.
function engine.stage_deadline(...)
    return limit(true, ...)
end

--- Runs fn(…), which asks a person, and moves the deadlines up to the stage's by the time that it took.
function engine.standing_still(fn, ...)
    local locals = task.locals()
    local inner = locals.due
    local stage = inner
    while stage and not stage.stage do
        stage = stage.around
    end
    local began = host.mono()
    locals.due = stage or false
    arm(stage)
    return engine.finally(function()
        local waited = host.mono() - began
        local frame = inner
        while frame and frame ~= stage do
            frame.due = frame.due + waited
            frame = frame.around
        end
        locals.due = inner
        arm(inner)
    end, fn, ...)
end
