-- sh: run the team's own tools. An argument vector runs as it is; a string runs under bash -euo pipefail.
local native, rt = ...

local sh = {}

rt.stop_service = native.stop

-- Options may be named keys of the argv table, or a second table.
local OPTIONS = {
    ok = "any",
    cwd = "string",
    env = "table",
    stdin = "text",
    timeout = "duration",
    grace = "duration",
    capture = "size",
    idempotent = "boolean",
    destructive = "string",
}

local READ_OPTIONS = {}
for name, kind in pairs(OPTIONS) do
    if name ~= "idempotent" and name ~= "destructive" then
        READ_OPTIONS[name] = kind
    end
end

local function fail(where, ...)
    rt.raise("usage", where .. ": " .. string.format(...))
end

local function public(value, where, what)
    if rt.is_secret(value) then
        fail(where, "%s is a secret, and every user of the machine can read a command's arguments (ps);"
            .. " pass it with env = { NAME = … } or stdin = …", what)
    end
    return value
end

local function plain_text(value, where, what)
    if rt.is_unknown(value) then
        return value
    end
    public(value, where, what)
    if math.type(value) then
        value = tostring(value)
    elseif type(value) ~= "string" then
        fail(where, "%s is %s; expected a string or a number", what,
            value == nil and "missing" or "a " .. type(value))
    end
    if value:find("\0", 1, true) then
        fail(where, "%s has a NUL byte, which no argument can hold", what)
    end
    return value
end

local function argument_vector(command, where)
    local argv, last = {}, 0
    for key in pairs(command) do
        if math.type(key) == "integer" and key > last then
            last = key
        end
    end
    for i = 1, last do
        argv[i] = plain_text(command[i], where, "argument " .. i)
    end
    if last == 0 or argv[1] == "" then
        fail(where, "the command is empty")
    end
    return argv
end

-- Splits { "pnpm", "build", cwd = "web" } into arguments and options.
local function named_keys(command, where)
    local options = {}
    for key, value in pairs(command) do
        if math.type(key) ~= "integer" then
            if type(key) ~= "string" then
                fail(where, "a command's table has a %s as a key", type(key))
            end
            options[key] = value
        end
    end
    return options
end

local function environment(given, inherited, where)
    if not given and not inherited then
        return nil
    end
    local env = {}
    for name, value in pairs(inherited or {}) do
        env[name] = value
    end
    for name, value in pairs(given or {}) do
        if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
            fail(where, "env has %q, which is no name of a variable", tostring(name))
        end
        if value ~= false and not rt.is_secret(value) then
            value = plain_text(value, where, "env." .. name)
        end
        env[name] = value
    end
    return env
end

local function exit_codes(ok, where)
    if ok == nil then
        return { 0 }
    end
    local codes = type(ok) == "table" and ok or { ok }
    for _, code in ipairs(codes) do
        if math.type(code) ~= "integer" or code < 0 or code > 255 then
            fail(where, "ok is a list of exit codes such as { 0, 3 }")
        end
    end
    if #codes == 0 then
        fail(where, "ok is empty: no exit code would be right")
    end
    return codes
end

local function join(folder, path)
    if not folder or not path or path:sub(1, 1) == "/" then
        return path or folder
    end
    return folder .. "/" .. path
end

-- The one table that is journaled, compared on replay, and handed to describe and call.
local function normalise(where, spec)
    return function(command, options, defaults)
        local args = {}
        if type(command) == "table" and not rt.is_unknown(command) then
            local named = named_keys(command, where)
            if options ~= nil and next(named) ~= nil then
                fail(where, "options stand in the command's table or in a second one, not in both")
            end
            args.argv = argument_vector(command, where)
            options = options or named
        else
            args.shell = plain_text(command, where, "the command")
            if not rt.is_unknown(args.shell) and not args.shell:find("%S") then
                fail(where, "the command is empty")
            end
        end
        local given = rt.options(options or {}, spec, where)
        defaults = defaults or {}
        for _, name in ipairs { "timeout", "grace", "capture", "idempotent", "destructive" } do
            args[name] = given[name]
        end
        args.ok = exit_codes(given.ok, where)
        args.cwd = join(defaults.cwd, given.cwd)
        args.env = environment(given.env, defaults.env, where)
        args.stdin = given.stdin
        return args
    end
end

local function quoted(word)
    word = tostring(word)
    if word:find("^[%w_%-%./:=@%%+,]+$") then
        return word
    end
    return "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function command_line(args)
    if args.shell then
        return (tostring(args.shell):gsub("^%s+", ""):gsub("%s+$", ""))
    end
    local words = {}
    for i, word in ipairs(args.argv) do
        words[i] = quoted(word)
    end
    return table.concat(words, " ")
end

-- What is fed to a command that changes something, such as a script for psql, is looked at like the command itself. To one
-- that reads, it is what it looks through.
local function destruction(args)
    local fed = args.stdin
    return type(fed) == "string" and command_line(args) .. "\n" .. fed or command_line(args)
end

local function describe(args)
    local line = command_line(args):gsub("%s*\n%s*", " ⏎ ")
    return args.cwd and line .. "  (in " .. args.cwd .. ")" or line
end

local function sample(args)
    local line = command_line(args)
    return {
        code = args.ok[1],
        out = rt.unknown("output of " .. line),
        err = rt.unknown("error output of " .. line),
        ms = 0,
        truncated = false,
    }
end

local function start(args, ctx, service)
    return native.run {
        id = ctx.id,
        argv = args.argv or { "bash", "--norc", "-euo", "pipefail", "-c", args.shell },
        cwd = args.cwd,
        env = args.env,
        input = args.stdin,
        timeout = args.timeout,
        grace = args.grace,
        capture = args.capture,
        log = ctx.log,
        service = service,
    }
end

local function explain(args, result, log)
    local how = result.signal and "was ended by " .. result.signal or "exited with " .. result.code
    local said = rt.last_said(result, 8)
    return table.concat {
        "`", describe(args), "` ", how,
        said ~= "" and ":\n  " .. said or ", and printed nothing",
        log and "\n  its whole output: " .. log or "",
    }
end

local function is_ok(args, result)
    for _, code in ipairs(args.ok) do
        if result.code == code then
            return true
        end
    end
    return false
end

-- What a playbook sees. The guardian's bookkeeping (pid, adopted) is not part of it: it would differ
-- between a command that was awaited and the same one found again after a crash.
local function run(args, ctx)
    local result = start(args, ctx)
    if result.timed_out then
        local said = rt.last_said(result, 4)
        rt.raise("timeout", string.format("`%s` was still running after %s and was ended%s",
            describe(args), args.timeout and rt.show_duration(args.timeout) or "its timeout",
            said ~= "" and "; it said last:\n  " .. said or ""))
    end
    return {
        code = result.code,
        signal = result.signal,
        out = result.out,
        err = result.err,
        ms = result.ms,
        truncated = result.truncated,
    }
end

local function run_or_raise(args, ctx)
    local result = run(args, ctx)
    if not is_ok(args, result) then
        rt.raise("exit", explain(args, result, ctx.log),
            { code = result.code, signal = result.signal, log = ctx.log })
    end
    return result
end

local run_effect = rt.effect {
    name = "sh.run",
    class = function(args)
        return args.idempotent and "idempotent" or "unsafe"
    end,
    args = normalise("sh.run", OPTIONS),
    describe = describe,
    call = run_or_raise,
    command = true,
    sample = sample,
    destructive = destruction,
}

local read_effect = rt.effect {
    name = "sh.read",
    class = "read",
    args = normalise("sh.read", READ_OPTIONS),
    describe = describe,
    call = run_or_raise,
    command = true,
    sample = sample,
    destructive = command_line,
}

-- A check's exit code is what it was asked to find out: a result, whatever it is.
local check_effect = rt.effect {
    name = "sh.check",
    class = "read",
    command = true,
    args = normalise("sh.check", READ_OPTIONS),
    describe = describe,
    call = function(args, ctx)
        local result = run(args, ctx)
        return {
            pass = is_ok(args, result),
            measured = result.signal or result.code,
            limit = #args.ok == 1 and args.ok[1] or args.ok,
            line = describe(args),
            said = rt.last_said(result, 8),
        }
    end,
    sample = function(args)
        return { pass = true, measured = args.ok[1], limit = args.ok[1], line = describe(args), said = "" }
    end,
    destructive = command_line,
}

local function check(command, options, defaults)
    local found = check_effect(command, options, defaults)
    local limit = type(found.limit) == "table" and "one of " .. table.concat(found.limit, ", ") or found.limit
    return rt.expectation {
        name = found.line,
        verdict = found.pass and "pass" or "fail",
        measured = found.measured,
        limit = limit,
        unit = "exit code",
        detail = found.said ~= "" and found.said or nil,
        text = ("`%s` ended with %s%s"):format(found.line, found.measured, found.pass and ""
            or (", wanted %s%s"):format(limit, found.said ~= "" and ": " .. found.said or "")),
    }
end

-- A service runs until its stage ends or until it is stopped by name: what a step returned of it, after a
-- crash plain data, still names it.
local stop_effect = rt.effect {
    name = "sh.stop",
    class = "idempotent",
    args = function(server)
        if type(server) ~= "table" or type(server.id) ~= "string" then
            fail("sh.stop", "expected what sh.start returned")
        end
        return { id = server.id, command = server.command }
    end,
    describe = function(args)
        return "stop " .. tostring(args.command)
    end,
    call = function(args)
        native.stop(args.id)
        return true
    end,
    sample = function()
        return true
    end,
}

local Server = rt.class("sh.server", {
    stop = function(server)
        return stop_effect(server)
    end,
}, function(server)
    return "service `" .. server.command .. "`"
end)

local start_effect = rt.effect {
    name = "sh.start",
    class = "unsafe",
    command = true,
    args = normalise("sh.start", {
        cwd = "string", env = "table", stdin = "text", grace = "duration", destructive = "string",
    }),
    describe = function(args)
        return "start " .. describe(args)
    end,
    call = function(args, ctx)
        start(args, ctx, true)
        rt.service(ctx.id)
        return { id = ctx.id, command = describe(args) }
    end,
    sample = function(args)
        return { id = "plan", command = describe(args) }
    end,
    destructive = destruction,
}

local function start_service(command, options, defaults)
    return setmetatable(start_effect(command, options, defaults), Server)
end

local Commands = rt.class("sh.with", {}, function()
    return "sh.with"
end)

-- Commands that share a folder and variables. A relative cwd of one of them starts in that folder.
local function with(options, defaults)
    local given = rt.options(options, { cwd = "string", env = "table" }, "sh.with")
    defaults = defaults or {}
    local base = {
        cwd = join(defaults.cwd, given.cwd),
        env = environment(given.env, defaults.env, "sh.with"),
    }
    local function bound(fn)
        return function(command, call_options)
            return fn(command, call_options, base)
        end
    end
    return setmetatable({
        run = bound(run_effect),
        read = bound(read_effect),
        check = bound(check),
        start = bound(start_service),
        with = function(more)
            return with(more, base)
        end,
    }, Commands)
end

function sh.run(command, options)
    return run_effect(command, options)
end

function sh.read(command, options)
    return read_effect(command, options)
end

function sh.check(command, options)
    return check(command, options)
end

function sh.start(command, options)
    return start_service(command, options)
end

function sh.stop(server)
    return stop_effect(server)
end

function sh.with(options)
    return with(options)
end

return sh
