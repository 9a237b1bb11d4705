-- Errors: one type, made, read and kept here. What nothing swallows carries `control` (docs/design.md).
local host = require "lang.host"

local errors = {}

local error_metatable = host.error_metatable

--- An error of the one type. Fields given in `fields` (cause, control, detail, policy …) are copied in.
function errors.error(code, message, fields)
    local err = { code = code, message = message }
    for key, value in next, fields or {} do -- in no order: it costs each of 10,000 steps less than pairs
        err[key] = value
    end
    return setmetatable(err, error_metatable)
end

--- Raises an error that nothing swallows: pcall, xpcall and coroutines of the playbook pass it on.
function errors.fail(code, message, detail)
    error(errors.error(code, message, { control = true, detail = detail, where = errors.blame() }), 0)
end

--- Raises an ordinary error, blamed on the playbook's line.
function errors.raise(code, message, detail)
    error(errors.error(code, message, { detail = detail, where = errors.blame() }), 0)
end

--- Any Lua value as an error of the one type (strings come from Lua itself: a nil index, error "…").
function errors.as_error(err)
    if debug.getmetatable(err) == error_metatable then
        return err
    end
    local kind = type(err)
    local text = (kind == "string" or kind == "number" or kind == "boolean") and tostring(err) or "error of type " .. kind
    if host.is_secret(err) then
        text = tostring(err) -- its name
    elseif kind == "table" and type(rawget(err, "message")) == "string" then
        text = rawget(err, "message")
    end
    if text == "not enough memory" then
        return errors.error("memory", "the playbook's Lua needs more memory than it may have (256 MiB)")
    end
    local where, rest = text:match("^([^\n:]+:%d+): (.*)$")
    return errors.error("lua", rest or text, { where = where })
end

local PLAYBOOK_ERROR = { lua = true, usage = true, misplaced = true, options = true, undefined = true, upvalue = true,
    syntax = true, module = true, destructive = true, memory = true, cpu = true }

--- An error of the playbook itself (wrong use, a nil index), as opposed to what an effect found.
function errors.is_playbook_error(err)
    local code = type(err) == "table" and err.code or "lua"
    return PLAYBOOK_ERROR[code] or false
end

--- What the journal keeps of an error.
function errors.plain_error(err)
    err = errors.as_error(err)
    return {
        code = err.code, message = err.message, module = err.module, detail = err.detail, where = err.where,
        effect = err.effect, traceback = errors.is_playbook_error(err) and err.traceback or nil,
        cause = err.cause and errors.plain_error(err.cause) or nil,
    }
end

function errors.revive_error(plain)
    local err = errors.error(plain.code, plain.message, plain)
    err.cause = plain.cause and errors.revive_error(plain.cause)
    return err
end

--- "file:line" of the playbook's code that is being executed, or nil.
errors.blame = host.line

--- True for errors that a playbook's pcall passes on.
function errors.is_control(err)
    return debug.getmetatable(err) == error_metatable
        and (err.control or err.code == "deadline" or err.code == "cpu") and true or false
end

return errors
