-- What the procedure and the drivers work with: files, names, and commands that run beside the task.
local native, rt = ...

local work = {}
local OFTEN_MS = 250

function work.need_database(database, where)
    if not database.name then
        rt.raise("usage", where .. ": the handle names no database: …/NAME at the end of its URL")
    end
    return database.name
end

--- The fs module's work, as part of the effect that is under way.
function work.file(verb, path, more)
    local request = { verb = verb, path = path }
    for name, value in pairs(more or {}) do
        request[name] = value
    end
    return rt.native("fs").work(request)
end

--- "20261120-093000", in UTC: for names of files and schemas.
function work.stamp()
    return (rt.require("time").format(rt.now()):gsub("%.%d+", ""):gsub("[-:Z]", ""):gsub("T", "-"))
end

local began = tostring(rt.now())

--- The run that this is; what runs outside of one is never resumed.
function work.run(ctx)
    return rt.mode() == "run" and ctx.dir or began
end

--- 16 characters that all keys of a run begin with.
function work.run_key(ctx)
    return rt.sha256(work.run(ctx)):sub(1, 16)
end

--- What an effect's own schemas and files are called: the same for a resumed run and for all attempts of a step, so that
--- each finds what the one before it has left.
function work.mark(ctx, name)
    local place = ctx.key:gsub("@%d+%.(%d+)", "@%1")
    return rt.sha256(work.run(ctx) .. "\0" .. place .. "\0" .. name):sub(1, 16)
end

-- A command that a crashed host started is never adopted, since its snapshot died with the host: it is ended, and the next
-- one gets an id of its own.
local function fresh_id(ctx, name)
    local n = 0
    while true do
        n = n + 1
        local id = ctx.id .. "." .. name .. n
        local state = native.command_state(id)
        if state == "never" then
            return id
        elseif state == "alive" then
            local command = native.command { id = id, argv = { "true" } }
            native.stop_command(command)
            work.await(command)
        end
    end
end

--- Ends a command of that name which a crashed host has left.
work.end_predecessors = fresh_id

--- Starts a command as part of the effect: spec { argv, input, output, timeout }. `name` tells it from the effect's others.
function work.start(ctx, name, spec)
    spec.id = fresh_id(ctx, name)
    spec.log = ctx.log
    return native.command(spec)
end

--- Waits for a command's end, and calls each() meanwhile.
function work.await(command, each)
    while native.watch(command, each and OFTEN_MS or 1000) ~= "ended" do
        if each then
            each()
        end
    end
end

--- The same, and ends the command where the task is cancelled meanwhile.
function work.see_through(command, each)
    local ok, err = pcall(work.await, command, each)
    if not ok then
        native.stop_command(command)
        error(err, 0)
    end
end

--- fn, called as often as people are told how far something is; for what costs something to be told.
function work.now_and_then(fn)
    local last = 0
    return function(...)
        local now = rt.now()
        if now >= last + OFTEN_MS or now < last then
            last = now
            fn(...)
        end
    end
end

--- Tells how many tables were looked at; nil where nobody is told anything.
function work.tell_tables(job)
    local progress = job.ctx.progress
    return progress and function(done, total) progress(done, total, "tables") end
end

-- The last lines; an ERROR of a client's comes first: a report shows one line.
local function last_lines(text)
    local lines = {}
    for line in text:gmatch("[^\r\n]+") do
        lines[#lines + 1] = line
    end
    local said = table.concat(lines, "\n  ", math.max(1, #lines - 4))
    local last = lines[#lines]
    if last and last:find("^ERROR %d+ ") then
        said = #lines > 1 and last .. "\n  " .. table.concat(lines, "\n  ", math.max(1, #lines - 4), #lines - 1) or last
    elseif #lines > 1 then
        said = "\n  " .. said
    end
    said = said:gsub("[Ee]rrno:? 28", "%0 (no space left on the disk)")
    return last and (said:find("^\n") and ":" or ": ") .. said or ""
end

--- The result of a command that has ended well, or an error of that code with what it said last.
function work.check(driver, command, code, what)
    local result = native.result(command)
    if result.code ~= 0 then
        rt.raise(code, string.format("%s: %s failed (%s)%s", driver.name, what,
            result.signal ~= 0 and "signal " .. result.signal or "exit " .. result.code, last_lines(result.err)))
    end
    return result
end

return work
