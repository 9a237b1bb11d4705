-- Commands in a container. The engine knows a command from before it starts: so what became of one whose host died is
-- asked, and only its output is lost.
local native, rt, engine, output, container = ...

local M = {}

local POLL_MS = 200

local function environment(given, where)
    local list = {}
    for name, value in pairs(given or {}) do
        if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
            engine.fail(where, "env has %q, which is no name of a variable", tostring(name))
        elseif type(value) ~= "string" and not rt.is_secret(value) and not math.type(value) and not rt.is_unknown(value) then
            engine.fail(where, "env.%s is a %s; expected a text or a secret", name, type(value))
        end
        list[#list + 1] = name .. "=" .. (math.type(value) and tostring(value) or value)
    end
    return #list > 0 and rt.json.array(list) or nil
end
M.environment = environment

local function argv_of(command, where)
    if type(command) == "string" then
        return { "sh", "-c", command }
    elseif type(command) ~= "table" or #command == 0 then
        engine.fail(where, 'the command is missing: { "pnpm", "migrate" }, or a line for its shell')
    end
    local argv = {}
    for i, word in ipairs(command) do
        if rt.is_secret(word) then
            engine.fail(where, "argument %d is a secret, and whoever may look into the container can read a command's arguments;"
                .. " pass it with env = { NAME = … }", i)
        elseif type(word) ~= "string" and not math.type(word) and not rt.is_unknown(word) then
            engine.fail(where, "argument %d is a %s; expected a text", i, type(word))
        end
        argv[i] = math.type(word) and tostring(word) or word
    end
    return argv
end

local OPTIONS = { ok = "integer|table", env = "table", cwd = "string", user = "string", timeout = "duration", capture = "size",
    privileged = "boolean", stdin = "text" }

--- Of (command, options), or of one table with both: the plain fields of a command.
function M.fields(command, options, spec, where)
    if type(command) == "table" and options == nil then
        options = {}
        for key, value in pairs(command) do
            if math.type(key) ~= "integer" then
                options[key] = value
            end
        end
    end
    local given = rt.options(options or {}, spec, where)
    given.ok = type(given.ok) == "table" and given.ok or { given.ok or 0 }
    given.argv, given.env = argv_of(command, where), environment(given.env, where)
    return given
end

local function line_of(args)
    local words = {}
    for i, word in ipairs(args.argv) do
        word = tostring(word)
        words[i] = word:find("^[%w_%-%./:=@%%+,]+$") and word or "'" .. word:gsub("'", [['\'']]) .. "'"
    end
    return table.concat(words, " ")
end

local function describe(args)
    return ("`%s` in %s"):format(line_of(args), args.label or tostring(args.name))
end

local function created(args)
    local _, made = engine.ask(args.engine, {
        method = "POST", path = "/containers/" .. engine.escaped(args.name) .. "/exec", missing = "no_container",
        doing = "prepare " .. describe(args),
        json = { AttachStdin = args.stdin ~= nil, AttachStdout = true, AttachStderr = true, Cmd = args.argv, Env = args.env,
            WorkingDir = args.cwd, User = args.user, Privileged = args.privileged },
    })
    return made.Id
end

-- The engine keeps what became of a command for minutes only, and nothing once its container has stopped.
local function looked_up(args, id)
    local _, found = engine.ask(args.engine, { path = "/exec/" .. id .. "/json", ok = { 404 },
        doing = "look at " .. describe(args) })
    return found.ID and found or nil
end

local function was_started(found)
    return found ~= nil and (found.Running or found.ExitCode ~= nil)
end

local function judged(args, result)
    for _, code in ipairs(args.ok) do
        if result.code == code then
            return result
        end
    end
    local said = rt.last_said(result, 8)
    rt.raise((result.code == 126 or result.code == 127) and "command_not_found" or "exit", ("docker: %s exited with %s%s"):format(
        describe(args), tostring(result.code), said ~= "" and ":\n  " .. said or result.lost and ", and its output is lost with the"
        .. " host that read it" or ", and printed nothing"), { code = result.code })
end

local function ran(args, ctx, id)
    local started = rt.now()
    local result
    do
        local answer <close> = engine.open(args.engine, { method = "POST", path = "/exec/" .. id .. "/start", framed = true,
            json = { Detach = false, Tty = false }, input = args.stdin, once = true, log = ctx.log, timeout = args.timeout,
            missing = "missing", doing = "run " .. describe(args) })
        local ok, collected = pcall(output.collect, answer, args.capture)
        if not ok then
            if collected.code == "timeout" then
                rt.raise("timeout", ("docker: %s was still running after %s; the engine cannot end it: it goes on in its container")
                    :format(describe(args), rt.show_duration(args.timeout)))
            end
            error(collected, 0)
        end
        result = collected
    end
    local found = looked_up(args, id)
    while found and found.Running do -- its streams are closed a moment before
        native.sleep(5)
        found = looked_up(args, id)
    end
    if not found or found.ExitCode == nil then
        rt.raise("lost", ("docker: nobody knows how %s ended: its container stopped meanwhile"):format(describe(args)))
    end
    result.code, result.ms = found.ExitCode, rt.now() - started
    return result
end

-- What became of one that was started by a host before this one: its output went to that. Nil: nobody has started it.
local function taken_up(args, id)
    local found = looked_up(args, id)
    while found and found.Running do
        native.sleep(POLL_MS)
        found = looked_up(args, id)
    end
    if found and found.ExitCode ~= nil then
        return { code = found.ExitCode, out = "", err = "", bytes = 0, truncated = true, lost = true }
    elseif not found then
        rt.raise("lost", ("docker: nobody knows how %s ended: its container stopped meanwhile"):format(describe(args)))
    end
end

local prepare = rt.effect {
    name = "docker.exec.prepare",
    class = "idempotent",
    args = function(args) return args end,
    describe = function(args) return "prepare " .. describe(args) end,
    call = created,
    sample = function(args) return rt.unknown("id of " .. describe(args)) end,
}

-- What is fed to one that changes something, such as a script for psql, is looked at like the command itself.
local function destruction(args)
    return type(args.stdin) == "string" and line_of(args) .. "\n" .. args.stdin or line_of(args)
end
M.destruction = destruction

local function sample(args)
    local of = " of " .. line_of(args)
    return { code = args.ok[1], out = rt.unknown("output" .. of), err = rt.unknown("errors" .. of),
        bytes = rt.unknown("bytes" .. of),
        truncated = false, ms = rt.unknown("time" .. of) }
end

local run = rt.effect {
    name = "docker.exec",
    class = function(args) return args.idempotent and "idempotent" or "probed" end,
    args = function(args) return args end,
    describe = describe,
    call = function(args, ctx)
        local id = args.exec
        if id and args.stdin and was_started(looked_up(args, id)) then -- by a host before this one; somebody says: again
            id = created(args)
        elseif id then
            local result = taken_up(args, id)
            if result then
                return judged(args, result)
            end
        end
        return judged(args, ran(args, ctx, id or created(args)))
    end,
    probe = function(args)
        local found = looked_up(args, args.exec)
        if args.stdin and was_started(found) then
            return "unknown", "it was started, and its input may have ended half-way, with the connection"
        end
        return found and "undone" or "unknown" -- it is started once, whoever asks how often
    end,
    sample = sample,
    destructive = destruction,
}

local read = rt.effect {
    name = "docker.read",
    class = "read",
    args = function(args) return args end,
    describe = describe,
    call = function(args, ctx) return judged(args, ran(args, ctx, created(args))) end,
    sample = sample,
    destructive = line_of,
}

local function with(spec, more)
    local all = {}
    for _, part in ipairs { spec, more } do
        for name, kind in pairs(part) do
            all[name] = kind
        end
    end
    return all
end
local EXEC = with(OPTIONS, { idempotent = "boolean", destructive = "string" })

--- Runs a command of that container. args: what M.fields made of it, with engine, name and label.
function M.run(args)
    local plain = {}
    for name, value in pairs(args) do
        plain[name] = value
    end
    plain.exec = not args.idempotent and prepare(args) or nil
    return run(plain)
end

function M.exec_fields(command, options, where)
    return M.fields(command, options, EXEC, where)
end

function M.read_fields(command, options, where)
    return M.fields(command, options, OPTIONS, where)
end

function M.exec(handle, command, options)
    local of = container.plain(handle, "docker.exec")
    return M.run(with(M.exec_fields(command, options, "docker.exec"), of))
end

--- The same for a command that is declared to change nothing: allowed in checks.
function M.read(handle, command, options)
    local of = container.plain(handle, "docker.read")
    return read(with(M.read_fields(command, options, "docker.read"), of))
end

M.read_of = read

return M
