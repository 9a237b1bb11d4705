-- rt: what the host offers to the sugar of a module (docs/design.md, "A module").
local host = require "lang.host"
local door = require "lang.door"
local engine = require "lang.engine"
local options = require "lang.options"
local units = require "lang.units"
local unknown = require "lang.unknown"

require "lang.deadline"

local rt = engine.rt

rt.natives = {}
rt.effect = door.effect
rt.each = door.each
rt.guard = door.guard
--- For a handle that opens a secret while it is made: waits for the secrets in a value that commands print.
rt.open = door.open
rt.options = options.check
rt.suggest = host.suggest
rt.json = host.json
rt.sha256 = host.sha256
rt.is_secret = host.is_secret
rt.make_secret = host.make_secret
--- A text with its secrets masked: before it is cut, since half a secret is not recognised any more.
rt.masked = function(text) return (host.keep(text)) end
--- A text for people: bytes that are no UTF-8 become U+FFFD. The journal keeps others as bytes, which nobody can read.
function rt.readable(text)
    local parts, at = {}, 1
    while true do
        local length, bad = utf8.len(text, at)
        if length then
            parts[#parts + 1] = text:sub(at)
            return table.concat(parts)
        end
        parts[#parts + 1] = text:sub(at, bad - 1) .. "\u{FFFD}"
        at = bad + 1
    end
end

local LONGEST_LINE = 300

--- What a program said last, for a message: its last `count` lines that are not empty, masked, joined by a line break and two
--- spaces. `except`, a pattern: lines that are left out.
function rt.last_lines(text, count, except)
    local lines = {}
    for line in rt.readable(rt.masked(text)):gsub("\27%[[%d;?]*%a", ""):gsub("%z", "\n"):gmatch("[^\r\n]+") do
        if line:find("%S") and not (except and line:find(except)) then
            lines[#lines + 1] = #line > LONGEST_LINE and line:sub(1, utf8.offset(line, 0, LONGEST_LINE) - 1) .. "…" or line
        end
    end
    return table.concat(lines, "\n  ", math.max(1, #lines - count + 1))
end

--- The same of a command's { out, err }: of its errors, or where there are none of what it printed.
function rt.last_said(result, count, except)
    return rt.last_lines(result.err:find("%S") and result.err or result.out, count, except)
end

rt.now = host.now
rt.expectation = function(...) return require("lang.expect").expectation(...) end
--- expect(name, measured), as a playbook writes it: to hold a value against the limits of the language.
rt.expect = function(...) return require("lang.expect").new(...) end
--- Inside an effect: waits. Its deadline goes on, and a cancellation ends it.
rt.sleep = function(ms) host.task.sleep(ms) end
--- Says that command `id` is a service; rt.stop_service(id), which the module that starts them provides, ends it.
rt.service = function(id) engine.service(id) end
rt.show_duration = units.show

function rt.unknown(label)
    return unknown.new(label)
end

rt.is_unknown = unknown.is

local function converted(convert)
    return function(value)
        local result, why = convert(value)
        if result == nil then
            rt.raise("usage", why)
        end
        return result
    end
end

rt.duration = converted(units.duration)
rt.size = converted(units.size)

function rt.raise(code, message, detail)
    engine.raise(code, message, detail)
end

--- Inside an effect, in a __close: fn(…) although the effect's time is up, for `ms` more, to end elsewhere what was cut off here.
function rt.aftermath(ms, fn, ...)
    local outer = host.task.deadline(host.mono() + ms)
    return engine.finally(function() host.task.deadline(outer or false) end, fn, ...)
end

--- Inside a change's call: what was begun may be done or not (a connection broke before the answer). The door settles it as after
--- a crash: by the probe, the step's `done`, or a person; where it is not done, or may be done again, it has failed, with `code`.
function rt.doubt(code, message)
    error(engine.error("in_doubt", message, { control = true, detail = code }), 0)
end

function rt.mode()
    return host.run.mode
end

--- Another rollout module's public table.
function rt.require(name)
    return require("lang.environment").require("rollout." .. name:gsub("^rollout%.", ""))
end

--- Another module's native table.
function rt.native(name)
    rt.require(name)
    return rt.natives[name]
end

--- The run's finished effects of that name, in journal order: { { key, time, result, describe }, … }.
function rt.recorded(name)
    return require("lang.recorded").effects(name)
end

--- While a module loads: fn(info) notes facts when a step's body has ended; see lang/recorded.lua.
function rt.after_step(fn)
    require("lang.recorded").after_step(fn)
end

--- What a module's after_step noted: { { key, name, time, facts }, … }.
function rt.observed(module)
    return require("lang.recorded").observed(module)
end

--- While a module loads: fn(status) is called when a run comes to its end; see lang/ending.lua.
function rt.at_run_end(fn)
    require("lang.ending").at_run_end(fn)
end

--- Whether a run of this state folder is not at its end; nil where there is none of that id.
rt.run_unfinished = host.run_unfinished

--- Inside an effect: these functions at once, each in a task of its own. Returns what they return, in their order. The first
--- failure cancels the others, and is raised when all have ended.
function rt.together(functions)
    return require "lang.together"(functions, function()
        return engine.error("sibling", "cancelled: what was done beside it has failed", { control = true }), true
    end)
end

local FIRST_PAUSE_MS = 500

--- Inside an effect: asks look() until it returns something, which is returned. The pauses double, up to `longest` ms. Where the
--- time `deadline` has passed, late(what look returned second) is to raise.
function rt.poll(deadline, longest, look, late)
    local pause = FIRST_PAUSE_MS
    local found, last = look()
    while not found do
        local left = deadline - rt.now()
        if left <= 0 then
            return late(last)
        end
        rt.sleep(math.min(pause, left))
        pause = math.min(pause * 2, longest)
        found, last = look()
    end
    return found
end

--- A handle's metatable: sealed, a misspelt method is an error with a suggestion.
function rt.class(name, methods, tostring_fn)
    local list = {}
    for method in pairs(methods) do
        list[#list + 1] = method
    end
    return {
        __name = name,
        __metatable = false,
        __tostring = tostring_fn or function() return name end,
        __index = function(_, key)
            local method = methods[key]
            if method ~= nil then
                return method
            end
            local hint = host.suggest(tostring(key), list)
            engine.fail("usage", string.format("%s has no %q%s", name, tostring(key), hint and ": " .. hint or ""))
        end,
    }
end

-- Not the playbook's data, although functions of modules/lib hold it: what it offers grows when modules are loaded.
return setmetatable(rt, { __name = "rt" })
