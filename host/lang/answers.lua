-- Answers of people. Each is a message in the run's inbox whose file's owner is who gave it; what is typed at
-- the run's own terminal takes the same way, so there is one identity and one record.
local host = require "lang.host"
local engine = require "lang.engine"

local answers = {}

-- What a question of this kind listens to.
local LISTENS = { approve = { approve = true, reject = true }, confirm = { confirm = true },
    checklist = { confirm = true } }

-- A file's time is that of the kernel's last tick, a little before the clock's.
local TICK = 100

local pending = {} -- key → request

local function kind_of(message)
    for _, listens in pairs(LISTENS) do
        if listens[message.kind] then return true end
    end
    return false
end

-- Which question a message answers: the request, or nil and why none.
local function addressee(message)
    local name, key = (message.data or {}).name, (message.data or {}).key
    local found, names = {}, {}
    for _, request in pairs(pending) do
        if LISTENS[request.kind][message.kind] then
            names[#names + 1] = ("%q"):format(request.name)
            if key == request.key or not key and (not name or name == request.key
                or tostring(name):lower() == request.name:lower()) then
                found[#found + 1] = request
            end
        end
    end
    if #found == 1 then return found[1] end
    if #names == 0 then return nil, "nothing waits for it" end
    return nil, ("it names no question that waits: %s"):format(table.concat(names, ", "))
end

-- Records an answer that does not count, and why, and takes it away.
function answers.ignore(message, key, why)
    engine.record("answer.ignored", key, { kind = message.kind, by = message.by, why = why })
    host.say("warning", key, { text = ("%s by %s does not count: %s"):format(message.kind,
        message.by and message.by.name or "?", why) })
end

-- Asks at the run's own terminal until it is answered; the answer is dropped into the inbox. → a task for
-- stop_asking, or nil where there is no terminal.
function answers.ask_here(request)
    return host.run.interactive and host.task.spawn(function()
        local hint
        while true do
            local question = request.question()
            question.hint = hint
            local line = host.ask(request.key, question)
            if not line then return end -- the terminal is gone; the inbox is still there
            local kind, data = request.parse(line)
            if kind then
                host.inbox_drop(kind, data)
                return
            end
            hint = data
        end
    end)
end

function answers.stop_asking(terminal)
    if terminal then
        host.task.cancel(terminal, engine.error("answered", "answered", { control = true }), true)
        host.task.join(terminal)
    end
end

-- One round: hands each message to its request. → what `take` of this one returned, or false where nothing came.
local function take_messages(request)
    local came = false
    for _, message in ipairs(host.inbox()) do
        if kind_of(message) then
            local target, why = addressee(message)
            local result
            if target == request then
                if message.time < request.asked - TICK then
                    answers.ignore(message, request.key, "it was given before the question was asked")
                else
                    result = request.take(message)
                end
            elseif not target then
                answers.ignore(message, request.key, why)
            end
            if target == request or not target then
                engine.commit()
                host.inbox_done(message.file)
            end
            if result ~= nil then return result end
            came = came or target == request or not target
        end
    end
    if not came then return false end
end

-- Waits for the answer to a question: request = { kind, name, key, asked = ms, until = ms or nil,
-- waiting = text, take = function(message) → result or nil,
-- question = function() → { question, choices, prompt }, parse = function(line) → kind, data or nil, hint }
-- `question` is nil where the operator is not to be asked. Returns what `take` returned.
function answers.await(request)
    local key = request.key
    pending[key] = request
    local terminal = request.question and answers.ask_here(request)
    local ok, result = pcall(function()
        while true do
            engine.commit()
            -- Nothing yields between the last look and the wait: no message falls between them.
            local result = take_messages(request)
            if result then return result end
            engine.pause_point()
            if result == false then engine.idle(request.waiting, request["until"], host.inbox_wait) end
        end
    end)
    pending[key] = nil
    answers.stop_asking(terminal)
    if not ok then error(result, 0) end
    return result
end

-- A word of a command line, as a shell reads it.
function answers.quoted(text)
    if text:match("^[%w_.,:/-]+$") then return text end
    if not text:find("[\"$`\\!]") then return '"' .. text .. '"' end
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- "yes", "no: the numbers are wrong" → the word and the rest.
function answers.split(line)
    local word, rest = line:match("^%s*(%S+)[%s:]*(.-)%s*$")
    word = (word or ""):gsub(":$", ""):lower()
    return word, rest ~= "" and rest or nil
end

return answers
