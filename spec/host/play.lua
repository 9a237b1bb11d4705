-- Runs of the language for its specs: a playbook's text under a plain header, its events, and answers that are
-- dropped into a run's inbox as the commands do.
local json = require "dkjson"
local t = require "spec.helper"

local play = {}

local HEADER = 'playbook "demo" { environments = { "staging", "production" }%s }\n'

-- A playbook's text behind a header; `more` are further fields of it.
function play.text(body, more)
    return HEADER:format(more and ", " .. more or "") .. body
end

local function decode(out)
    local events = {}
    for line in out:gmatch("[^\n]+") do
        local event = json.decode(line)
        if event then events[#events + 1] = event end
    end
    return events
end

local function command(path, folder, options)
    local made = { path, "--output", options.output or "json", cwd = folder, state = folder .. "/state", env = options.env,
        timeout = options.timeout }
    for _, word in ipairs(options.raw and {} or { "--env", options.protected and "production" or "staging" }) do
        made[#made + 1] = word
    end
    for _, word in ipairs(options) do made[#made + 1] = word end
    return made
end

local function extend(result, folder, path)
    result.folder, result.path, result.state = folder, path, folder .. "/state"
    function result:events(type)
        local list = {}
        for _, event in ipairs(decode(self.out)) do
            if event.type == type then list[#list + 1] = event end
        end
        return list
    end
    -- The last event of that type (and key).
    function result:last(type, key)
        local found
        for _, event in ipairs(self:events(type)) do
            if not key or event.key == key then found = event end
        end
        return found and found.payload, found
    end
    return result
end

-- Runs it to its end. options: words for the command line, env, timeout, more (header fields), raw (no header), output
-- (json), protected (for production)
function play.run(body, options)
    options = options or {}
    local path, folder = t.playbook(options.raw and body or play.text(body, options.more), "demo", options.folder)
    return extend(t.host(command(path, folder, options)), folder, path)
end

-- Starts it and leaves it running.
function play.start(body, options)
    options = options or {}
    local path, folder = t.playbook(options.raw and body or play.text(body, options.more), "demo", options.folder)
    return extend(t.start_host(command(path, folder, options)), folder, path)
end

-- Another command on the same state: resume, plan, …
function play.again(result, words)
    local made = { env = words.env, timeout = words.timeout, cwd = result.folder, state = result.state }
    for _, word in ipairs(words) do made[#made + 1] = word end
    made[#made + 1] = "--output"
    made[#made + 1] = "json"
    return extend((words.started and t.start_host or t.host)(made), result.folder, result.path)
end

-- What a run that stopped says, also to the terminal: the error's message.
function play.message(result)
    local last = result:last("run.pause") or result:last("run.end")
    return last and last.error and last.error.message or result.err
end

-- The id of the run in that state; there is one.
function play.id(result)
    for _, name in ipairs(t.list(result.state .. "/runs")) do
        if name:match("^demo%-") then return name end
    end
end

local serial = 0

-- Drops a message into the run's inbox.
function play.drop(result, kind, data)
    local id = play.id(result)
    serial = serial + 1
    local folder = ("%s/runs/%s/inbox"):format(result.state, id)
    local name = ("%020d-%08x.json"):format(os.time() * 1000000, serial)
    t.write(folder .. "/." .. name, json.encode { kind = kind, run = id, data = data })
    assert(os.rename(folder .. "/." .. name, folder .. "/" .. name))
end

-- Waits until an event of that type (and key) is printed.
function play.await(result, type, key)
    t.eventually(("%s %s\n%s%s"):format(type, key or "", result.out, result.err), function()
        return select(2, result:last(type, key)) or result.code
    end)
    return (assert(result:last(type, key), ("%s was not there\n%s%s"):format(type, result.out, result.err)))
end

-- The login that runs the specs.
function play.me()
    local pipe = assert(io.popen("id -un"))
    local name = pipe:read("l")
    pipe:close()
    return name
end

return play
