-- New containers. Each bears a label with the mark of the effect that made it: so it is found after a crash.
local _, rt, engine, output, health, container, exec = ...

local M = {}

local LABEL = "rollouthost.effect"
M.LABEL = LABEL

--- The mark of what this effect makes: the same when it is done again, and nobody else's.
function M.mark(ctx)
    return rt.sha256((ctx.dir or tostring(rt.now())) .. "\0" .. ctx.key):sub(1, 32)
end

-- ---- from options to what the engine is told ----

local function texts(list, where, what)
    if list == nil then
        return nil
    end
    local found = {}
    for i, one in ipairs(type(list) == "table" and list or { list }) do
        if rt.is_secret(one) then
            engine.fail(where, "%s holds a secret, which every user of the engine can read there; pass it with"
                .. " env = { NAME = … }", what)
        end
        found[i] = tostring(one)
    end
    return rt.json.array(found)
end

-- "80", "8080:80", "127.0.0.1:8080:80/udp"
local function ports(list, where)
    local exposed, bound = {}, {}
    for _, one in ipairs(list or {}) do
        local text, protocol = tostring(one):match("^([%d%.:]+)/?(%a*)$")
        local ip, outer, inner = (text or ""):match("^([%d%.]+):(%d*):(%d+)$")
        if not ip then
            outer, inner = (text or ""):match("^(%d+):(%d+)$")
        end
        inner = inner or (text or ""):match("^%d+$")
        if not inner then
            engine.fail(where, 'ports has %q; expected "8080:80" or "127.0.0.1:8080:80"', tostring(one))
        end
        local name = inner .. "/" .. (protocol ~= "" and protocol or "tcp")
        exposed[name] = rt.json.decode "{}"
        bound[name] = bound[name] or rt.json.array {}
        table.insert(bound[name], { HostIp = ip or "", HostPort = outer or "" })
    end
    return next(exposed) and exposed or nil, next(bound) and bound or nil
end

local function binds(list, where)
    for _, one in ipairs(list or {}) do
        if not tostring(one):find("^[/%w][^:]*:/[^:]*:?[%w,]*$") then
            engine.fail(where, 'volumes has %q; expected "name:/inside", "/outside:/inside" or "/outside:/inside:ro"',
                tostring(one))
        end
    end
    return texts(list, where, "volumes")
end

local function health_of(given, where)
    if not given then
        return nil
    end
    local spec = rt.options(given, { command = { "string|table", required = true }, interval = "duration", timeout = "duration",
        retries = "integer", start_period = "duration" }, where .. ": health")
    local test = type(spec.command) == "string" and { "CMD-SHELL", spec.command } or { "CMD", table.unpack(spec.command) }
    local function ns(ms)
        return ms and ms * 1000000
    end
    return { Test = test, Interval = ns(spec.interval), Timeout = ns(spec.timeout), Retries = spec.retries,
        StartPeriod = ns(spec.start_period) }
end

local OPTIONS = {
    image = { "string", required = true }, name = "string", command = "string|table", entrypoint = "string|table", env = "table",
    labels = "table", ports = "table", volumes = "table", network = "string", restart = "string", user = "string", cwd = "string",
    hostname = "string", memory = "size", cpus = "number", health = "table", read_only = "boolean", init = "boolean",
    tty = "boolean", grace = "duration",
}
M.options = OPTIONS

local function body_of(given, where)
    local exposed, bound = ports(given.ports, where)
    local labels = {}
    for name, value in pairs(given.labels or {}) do
        labels[name] = texts(value, where, "labels")[1]
    end
    return {
        Image = engine.word(given.image, where, "image"), Env = exec.environment(given.env, where), Labels = labels,
        Cmd = texts(type(given.command) == "string" and { "sh", "-c", given.command } or given.command, where, "command"),
        Entrypoint = texts(given.entrypoint, where, "entrypoint"), User = given.user, WorkingDir = given.cwd,
        Hostname = given.hostname, ExposedPorts = exposed, Healthcheck = health_of(given.health, where), Tty = given.tty,
        StopTimeout = given.grace and given.grace // 1000,
        HostConfig = {
            Binds = binds(given.volumes, where), PortBindings = bound, NetworkMode = given.network, Memory = given.memory,
            RestartPolicy = given.restart and { Name = given.restart } or nil, ReadonlyRootfs = given.read_only,
            NanoCpus = given.cpus and math.floor(given.cpus * 1e9), Init = given.init,
        },
    }
end

-- ---- doing it ----

local function ours(of, mark)
    local one = container.listed(of, true, { label = { LABEL .. "=" .. mark } })[1]
    return one and { id = one.id, name = one.name } or nil
end

M.create = rt.effect {
    name = "docker.create",
    class = "probed",
    args = function(handle, options)
        local where = "docker.create"
        local given = rt.options(options, OPTIONS, where)
        return { engine = engine.plain(handle, where), name = given.name and engine.word(given.name, where, "the name"),
            image = given.image, body = body_of(given, where) }
    end,
    describe = function(args)
        return ("create container %s of %s"):format(tostring(args.name or "(unnamed)"), tostring(args.image))
    end,
    call = function(args, ctx)
        local mark = M.mark(ctx)
        args.body.Labels[LABEL] = mark
        local name = args.name or "rollout-" .. mark:sub(1, 12)
        local request = { method = "POST", path = "/containers/create", query = { name = name }, json = args.body, once = true,
            timeout = false, missing = "no_image", doing = "create " .. name,
            unless_there = "; engine:pull or engine:build makes its image known",
            ok = { 409 } }
        local status, made = engine.ask(args.engine, request)
        if status == 409 then
            local found = ours(args.engine, mark)
            if not found then
                rt.raise("conflict", ("docker: there is a container %q already, which this step has not made; remove it or "
                    .. "choose another name"):format(name), { name = name })
            end
            return found
        end
        return { id = made.Id, name = name }
    end,
    probe = function(args, ctx)
        local found = ours(args.engine, M.mark(ctx))
        if found then
            return "done", found
        end
        return "undone"
    end,
    sample = function(args) return { id = rt.unknown("id of " .. tostring(args.name)), name = args.name or rt.unknown "name" } end,
    exact = { "id", "name" },
    destructive = function(args)
        local words = {}
        for _, list in ipairs { args.body.Entrypoint or {}, args.body.Cmd or {} } do
            for _, word in ipairs(list) do
                words[#words + 1] = tostring(word)
            end
        end
        return table.concat(words, " ")
    end,
}

-- ---- once, to its end ----

local ended = rt.effect {
    name = "docker.ended",
    class = "read",
    args = function(args) return args end,
    describe = function(args) return "wait for the end of container " .. tostring(args.name) end,
    call = function(args, ctx)
        local _, found = engine.ask(args.engine, { method = "POST", path = "/containers/" .. args.id .. "/wait", timeout = false,
            missing = "no_container", doing = "wait for " .. args.name })
        local state = health.inspect(args.engine, args.id)
        local result = output.logs(args.engine, args.id, { tty = state.Config.Tty, capture = args.capture, log = ctx.log })
        result.code = found.StatusCode
        return result
    end,
    sample = function(args)
        return { code = args.ok[1], out = rt.unknown "output", err = rt.unknown "errors", bytes = rt.unknown "bytes",
            truncated = false }
    end,
}

--- Creates a container, starts it, waits for its end, removes it: { code, out, err, bytes, truncated }.
function M.run(handle, options)
    local where = "docker.run"
    local given = {}
    for name, value in pairs(rt.is_unknown(options) and {} or options or {}) do
        given[name] = value
    end
    local ok, capture = given.ok or 0, given.capture and rt.size(given.capture)
    given.ok, given.capture = nil, nil
    if given.restart then
        engine.fail(where, "restart: a container that is run to its end is not started again")
    end
    local made = M.create(handle, given)
    local of = { engine = engine.plain(handle, where), name = made.name }
    local started, why = pcall(container.start, of)
    if not started then
        if type(why) == "table" and not why.control then
            container.remove(of)
        end
        error(why, 0)
    end
    local args = { engine = of.engine, id = made.id, name = made.name, capture = capture,
        ok = type(ok) == "table" and ok or { ok } }
    local result = ended(args)
    container.remove(of, { force = true, volumes = true, destructive = "its own anonymous volumes" })
    for _, code in ipairs(args.ok) do
        if result.code == code then
            return result
        end
    end
    local said = rt.last_said(result, 8)
    rt.raise("exit", ("docker: a container of %s exited with %d%s"):format(tostring(given.image), result.code,
        said ~= "" and ":\n  " .. said or ", and printed nothing"), { code = result.code })
end

return M
