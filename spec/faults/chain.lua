-- One run, killed again and again: before and after each of its commits (or each k-th), and resumed each time, until it
-- ends. What people would type meanwhile is typed by the real commands.
local json = require "dkjson"
local t = require "spec.helper"

local chain = {}

local preload

-- The library that kills, built from killer.c.
function chain.preload()
    if not preload then
        preload = t.build .. "/faults/killer.so"
        t.run { "mkdir", "-p", t.build .. "/faults" }
        local scratch = ("%s.%d"):format(preload, require("luv").os_getpid())
        local built = t.run { "gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o",
            scratch, "spec/faults/killer.c", "-ldl", timeout = 60 }
        assert(built.code == 0, built.err)
        assert(os.rename(scratch, preload))
    end
    return preload
end

-- How far apart the positions are that are killed, and which is the first: all of them in `make matrix`; in `make test`
-- every k-th, where a number that changes from build to build (RH_MATRIX_ROUND) chooses the first.
function chain.pace(default)
    local every = tonumber(os.getenv("RH_MATRIX_EVERY")) or default
    local round = tonumber(os.getenv("RH_MATRIX_ROUND")) or 0
    return every, round % every + 1
end

local Chain = {}
Chain.__index = Chain

--- options: start (the words of the first command line), env, cwd, state; every, first (positions; 1 by default);
--- doubt = function(doubt) → words for `decide`: { "--done", … } or { "--retry" }.
function chain.new(options)
    local self = setmetatable({ every = 1, first = 1, kills = { before = 0, within = 0, after = 0, resume = 0 }, doubts = {},
        processes = 0, said = "" }, Chain)
    for name, value in pairs(options) do
        self[name] = value
    end
    self.log = t.temp() .. "/commits"
    return self
end

function Chain:command(words)
    local command = { env = self.env, cwd = self.cwd, state = self.state, timeout = 60 }
    return table.move(words, 1, #words, 1, command)
end

function Chain:id()
    local names = t.exists(self.state .. "/runs") and t.list(self.state .. "/runs") or {}
    assert(#names <= 1, "there is more than one run: " .. table.concat(names, " "))
    return names[1]
end

-- The run's events, as `show` has them.
function Chain:events()
    local shown = t.host(self:command { "show", self:id(), "--output", "json" })
    assert(shown.code == 0, shown.out .. shown.err)
    local events = {}
    for line in shown.out:gmatch("[^\n]+") do
        events[#events + 1] = json.decode(line)
    end
    return events
end

-- What the host says that it waits for is what people type.
function Chain:answer(process)
    local asked = {}
    for line in process.out:gmatch("[^\n]+") do
        local words = line:match(" WAIT .-%f[%w]rollouthost (%l+ [^\n]*)")
        words = words and words:gsub(" until %d%d%d%d%-.*$", "")
        if words and (words:find "^approve" or words:find "^confirm") and not asked[words] then
            asked[words] = true
            if not process.answered[words] then
                process.answered[words] = true
                t.run { "sh", "-c", "exec '" .. t.binary .. "' " .. words, cwd = self.cwd,
                    env = { ROLLOUTHOST_STATE = self.state } }
            end
        end
    end
end

-- One process, killed at `kill`. Returns its exit code, 137 where it was killed.
function Chain:process(kill)
    local words = self:begun() and { "resume", self:id(), "--output", "plain" } or self.start
    if words == self.start and self:id() then
        local resumed = t.host(self:command { "resume", self:id() })
        assert(resumed.code == 8 and resumed.err:find "start it anew", resumed.out .. resumed.err)
        t.remove(self.state .. "/runs/" .. self:id())
    end
    local command = self:command(words)
    command.env = { LD_PRELOAD = chain.preload(), RH_KILL = kill, RH_KILL_LOG = self.log,
        RH_KILL_INTENT = self.processes % 20 < 2 and "1" or nil }
    for name, value in pairs(self.env or {}) do
        command.env[name] = value
    end
    self.processes = self.processes + 1
    local process = t.start_host(command)
    process.answered = {}
    local seen = 0
    t.eventually("the end of " .. table.concat(words, " "), function()
        if #process.out > seen then
            seen = #process.out
            self:answer(process)
        end
        return process.code and process.open == 0
    end, 120)
    self.said = self.said .. ("---- %s\n"):format(kill) .. process.out .. process.err
    if os.getenv "RH_MATRIX_TRACE" then
        local file = assert(io.open(os.getenv "RH_MATRIX_TRACE", "a"))
        file:write(("---- %s: exit %d\n%s%s"):format(kill, process.code, process.out, process.err))
        file:close()
    end
    return process.code
end

-- Whether a commit of the run is on disk: one that was killed before that is started anew.
function Chain:begun()
    for what in (t.exists(self.log) and t.read(self.log) or ""):gmatch("(%l+)\t[^\n]*run%.start") do
        if what == "after" or what == "done" then
            return true
        end
    end
    return false
end

local function message(self, text)
    return text .. "\n" .. self.said:sub(-6000)
end

-- An effect in doubt: asks the spec, which looks into the world, and decides as it says.
function Chain:decide()
    local events = self:events()
    local doubt
    for _, event in ipairs(events) do
        if event.type == "doubt" then
            doubt = event
        end
    end
    assert(doubt, message(self, "exit 7 and nothing is in doubt"))
    local words = assert(self.doubt, message(self, "in doubt: " .. doubt.key))(doubt, events)
    self.doubts[#self.doubts + 1] = doubt.payload.describe .. " " .. table.concat(words, " ")
    local decided = t.host(self:command { "decide", self:id(), table.unpack(words) })
    assert(decided.code == 0, message(self, decided.out .. decided.err))
end

local function next_kill(self, number)
    local pair = (number - 1) // 2
    if number % 2 == 0 then
        return "after:1"
    elseif pair % 20 == 19 and not self.resumed then
        self.resumed = true
        return "resume:1"
    end
    self.resumed = false
    return (pair % 2 == 0 and "before:" or "within:") .. (pair == 0 and self.first or self.every)
end

--- Kills and resumes until the run ends; returns its exit code.
function Chain:run(limit)
    local number = 1
    for _ = 1, limit or 4000 do
        local kill = next_kill(self, number)
        local code = self:process(kill)
        if code == 137 then
            local mode = kill:match("%l+")
            self.kills[mode] = self.kills[mode] + 1
            number = mode == "resume" and number or number + 1
        elseif code == 7 then
            self:decide()
        else
            return code
        end
    end
    error(message(self, "it does not end"))
end

function Chain:summary()
    return ("%d processes; killed %d times before, %d within and %d after a commit, %d right after resuming; %d in doubt")
        :format(self.processes, self.kills.before, self.kills.within, self.kills.after, self.kills.resume, #self.doubts)
end

return chain
