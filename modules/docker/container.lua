-- A container: looked at, started, stopped, removed.
local _, rt, engine, output, health = ...

local M = {}

local GRACE_S = 10

-- ---- arguments and shapes ----

--- What is journaled of a container's handle.
function M.plain(handle, where)
    local of = type(handle) == "table" and rawget(handle, "engine")
    if type(of) ~= "table" or rawget(handle, "name") == nil then
        engine.fail(where, "call it with a colon on what engine:container returned: container:%s(…)", where:match("[^.]+$"))
    end
    return { engine = of, name = handle.name }
end

local function path(args, rest)
    return "/containers/" .. engine.escaped(args.name) .. (rest or "")
end

local function ports(found)
    local list = {}
    for port, bound in pairs(found.NetworkSettings.Ports or {}) do
        for _, one in ipairs(bound) do
            list[#list + 1] = { container = port, ip = one.HostIp, port = math.tointeger(tonumber(one.HostPort)) }
        end
    end
    table.sort(list, function(a, b) return a.container .. a.ip < b.container .. b.ip end)
    return rt.json.array(list)
end

-- Of the environment only the names: the values are nobody's but the container's.
local function names_of(env)
    local names = {}
    for i, line in ipairs(env or {}) do
        names[i] = line:match("^[^=]*")
    end
    return rt.json.array(names)
end

local function shape(found)
    local state, networks = found.State, {}
    for name, one in pairs(found.NetworkSettings.Networks or {}) do
        networks[name] = one.IPAddress
    end
    local mounts = {}
    for i, one in ipairs(found.Mounts or {}) do
        mounts[i] = { type = one.Type, name = one.Name, source = one.Source, target = one.Destination, writable = one.RW }
    end
    return {
        id = found.Id, name = health.name(found), image = found.Config.Image, image_id = found.Image, created = found.Created,
        status = state.Status, running = state.Running, health = state.Health and state.Health.Status or nil,
        exit_code = state.ExitCode, error = state.Error ~= "" and state.Error or nil, out_of_memory = state.OOMKilled,
        started = state.StartedAt, finished = state.FinishedAt, restarts = found.RestartCount,
        labels = found.Config.Labels or {}, env = names_of(found.Config.Env), ports = ports(found), networks = networks,
        mounts = rt.json.array(mounts), user = found.Config.User ~= "" and found.Config.User or nil,
    }
end

local SAMPLED = { "id", "image", "image_id", "created", "health", "started", "ports", "networks", "labels", "restarts", "mounts",
    "env" }

local function sampled(args)
    local value = { name = args.name, status = "running", running = true, exit_code = 0 }
    for _, field in ipairs(SAMPLED) do
        value[field] = rt.unknown(("%s of %s"):format(field, tostring(args.name)))
    end
    return value
end

-- ---- looking ----

local function method(verb, def)
    local where = "docker." .. verb
    local spec = def.options or {}
    def.name = where
    def.args = function(handle, options)
        local args = M.plain(handle, where)
        for name, value in pairs(rt.options(options or {}, spec, where)) do
            args[name] = value
        end
        return args
    end
    local words = def.words or verb .. " container"
    def.describe = def.describe or function(args) return words .. " " .. tostring(args.name) end
    def.options, def.words = nil, nil
    return rt.effect(def)
end

M.inspect = method("inspect", {
    class = "read", words = "look at container",
    call = function(args) return shape(health.inspect(args.engine, args.name)) end,
    sample = sampled,
})

M.wait = method("wait", {
    class = "read", words = "wait for the end of container", options = { timeout = "duration" },
    call = function(args)
        local ok, status, found = pcall(engine.ask, args.engine, { method = "POST", path = path(args, "/wait"),
            missing = "no_container",
            timeout = args.timeout or false, doing = "wait for " .. args.name })
        if not ok then
            if status.code == "timeout" then
                rt.raise("timeout", ("docker: %s was still running after %s"):format(args.name, rt.show_duration(args.timeout)))
            end
            error(status, 0)
        end
        return { code = found.StatusCode, error = found.Error and found.Error.Message or nil }
    end,
    sample = function() return { code = 0 } end,
})

M.logs = method("logs", {
    class = "read", words = "read the log of container",
    options = { tail = "integer", since = "duration", timestamps = "boolean", capture = "size" },
    call = function(args)
        local found = health.inspect(args.engine, args.name)
        local since = args.since
        return output.logs(args.engine, found.Id, { tail = args.tail, timestamps = args.timestamps, capture = args.capture,
            tty = found.Config.Tty, since = since and ("%.3f"):format((rt.now() - since) / 1000) })
    end,
    sample = function(args)
        local of = " of " .. tostring(args.name)
        return { out = rt.unknown("output" .. of), err = rt.unknown("errors" .. of), bytes = rt.unknown("bytes" .. of),
            truncated = false }
    end,
})

local function share(used, before, system, system_before, cpus)
    local delta, whole = used - before, system - system_before
    return delta >= 0 and whole > 0 and delta / whole * cpus or 0.0
end

local function sum(list, field, match)
    local total = 0
    for _, one in pairs(list or {}) do
        total = total + ((not match or (one.op or ""):lower() == match) and one[field] or 0)
    end
    return total
end

--- What a running container uses; of = { engine, name (or id) }.
function M.measured(of)
    local _, found = engine.ask(of.engine, { path = path(of, "/stats"), query = { stream = false }, missing = "no_container",
        doing = "measure " .. of.name })
    local cpu, before, memory = found.cpu_stats or {}, found.precpu_stats or {}, found.memory_stats or {}
    if not memory.usage or not cpu.system_cpu_usage then
        rt.raise("not_running", ("docker: %s is not running, so there is nothing to measure"):format(of.name))
    end
    local cache = memory.stats and (memory.stats.inactive_file or memory.stats.total_inactive_file) or 0
    return {
        cpu = share(cpu.cpu_usage.total_usage, before.cpu_usage.total_usage or 0, cpu.system_cpu_usage,
            before.system_cpu_usage or 0, cpu.online_cpus or 1),
        memory = memory.usage - cache, memory_limit = memory.limit, memory_share = (memory.usage - cache) / memory.limit,
        pids = found.pids_stats and found.pids_stats.current,
        received = sum(found.networks, "rx_bytes"), sent = sum(found.networks, "tx_bytes"),
        read = sum(found.blkio_stats and found.blkio_stats.io_service_bytes_recursive, "value", "read"),
        written = sum(found.blkio_stats and found.blkio_stats.io_service_bytes_recursive, "value", "write"),
    }
end

M.stats = method("stats", {
    class = "read", words = "measure container",
    call = M.measured,
    sample = function(args)
        local value = {}
        for _, field in ipairs { "cpu", "memory", "memory_limit", "memory_share", "pids", "received", "sent", "read", "written" } do
            value[field] = rt.unknown(field .. " of " .. tostring(args.name))
        end
        return value
    end,
})

local measure = method("healthy", {
    class = "read", words = "is it healthy: container", options = { within = "duration" },
    call = function(args) return health.measure(args.engine, args.name, args.within or 0) end,
    sample = function(args) return { name = tostring(args.name) .. " is healthy", verdict = "pass", measured = "healthy" } end,
})

--- An expectation: the container's health check passes, now or within a time (a duration, or { within = … }).
function M.healthy(handle, options)
    local found = measure(handle, type(options) == "string" and { within = options } or options)
    found.text = found.verdict == "pass" and found.name or ("%s: it is %s%s"):format(found.name, found.measured,
        found.detail and "; " .. found.detail or "")
    return rt.expectation(found)
end

-- ---- changing ----

local function post(args, rest, request)
    request.method, request.path, request.missing = request.method or "POST", path(args, rest), "no_container"
    return engine.ask(args.engine, request)
end

M.start = method("start", {
    class = "idempotent", options = { healthy = "duration" },
    call = function(args)
        post(args, "/start", { ok = { 304 }, timeout = false, doing = "start the container " .. args.name })
        if args.healthy then
            health.need(args.engine, { args.name }, args.healthy, args.name .. " was started and did not become healthy")
        end
        return shape(health.inspect(args.engine, args.name))
    end,
    sample = sampled,
})

local function grace_s(args)
    return (args.grace or GRACE_S * 1000) // 1000
end

M.stop = method("stop", {
    class = "idempotent", options = { grace = "duration" },
    call = function(args)
        post(args, "/stop", { ok = { 304 }, query = { t = grace_s(args) }, timeout = false,
            doing = "stop the container " .. args.name })
        return true
    end,
    sample = function() return true end,
})

M.restart = method("restart", {
    class = "idempotent", options = { grace = "duration", healthy = "duration" },
    call = function(args)
        post(args, "/restart", { query = { t = grace_s(args) }, timeout = false, doing = "restart the container " .. args.name })
        if args.healthy then
            health.need(args.engine, { args.name }, args.healthy, args.name .. " was restarted and did not become healthy")
        end
        return shape(health.inspect(args.engine, args.name))
    end,
    sample = sampled,
})

M.kill = method("kill", {
    class = "unsafe", words = "send a signal to container", options = { signal = { "string", default = "KILL" } },
    call = function(args)
        post(args, "/kill", { query = { signal = args.signal }, once = true,
            doing = ("send %s to the container %s"):format(args.signal,
            args.name) })
        return true
    end,
    sample = function() return true end,
})

M.rename = method("rename", {
    class = "probed", options = { to = { "string", required = true } },
    describe = function(args) return ("rename container %s to %s"):format(tostring(args.name), tostring(args.to)) end,
    call = function(args)
        post(args, "/rename", { query = { name = args.to }, once = true,
            doing = ("rename the container %s to %s"):format(args.name, args.to) })
        return true
    end,
    probe = function(args)
        local _, old = engine.ask(args.engine, { path = path(args, "/json"), ok = { 404 }, doing = "look at " .. args.name })
        local _, new = engine.ask(args.engine, { path = "/containers/" .. engine.escaped(args.to) .. "/json", ok = { 404 },
            doing = "look at " .. args.to })
        if not old.Id and new.Id then
            return "done", true
        end
        return old.Id and not new.Id and "undone" or "unknown"
    end,
    sample = function() return true end,
})

M.remove = method("remove", {
    class = "idempotent", options = { force = "boolean", volumes = "boolean", destructive = "string" },
    describe = function(args)
        return ("remove container %s%s"):format(tostring(args.name), args.volumes and " and its anonymous volumes" or "")
    end,
    call = function(args)
        post(args, "", { method = "DELETE", ok = { 404 }, query = engine.compact { force = args.force, v = args.volumes },
            timeout = false, doing = "remove the container " .. args.name })
        return true
    end,
    sample = function() return true end,
    destructive = function(args) return args.volumes and "docker rm -v " .. tostring(args.name) or nil end,
})

-- ---- many ----

local function listed_ports(one)
    local list = {}
    for _, port in ipairs(one.Ports or {}) do
        if port.PublicPort then
            list[#list + 1] = { container = ("%d/%s"):format(port.PrivatePort, port.Type), ip = port.IP, port = port.PublicPort }
        end
    end
    return rt.json.array(list)
end

--- Those that match: { all, filters } → a list, by name.
function M.listed(of, all, filters)
    local _, found = engine.ask(of, { path = "/containers/json", query = { all = all or false, filters = filters },
        doing = "list the containers" })
    local list = {}
    for i, one in ipairs(found) do
        list[i] = {
            id = one.Id, name = (one.Names and one.Names[1] or one.Id):gsub("^/", ""), image = one.Image, image_id = one.ImageID,
            state = one.State, status = one.Status, health = one.Status:match("%((%l+)%)") or one.Status:match("%(health: (%l+)%)"),
            labels = one.Labels or {}, ports = listed_ports(one), created = one.Created * 1000,
        }
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    return rt.json.array(list)
end

local function labels_of(given, where)
    local list = {}
    for key, value in pairs(given or {}) do
        if type(key) == "number" then
            list[#list + 1] = engine.word(value, where, "a label")
        else
            list[#list + 1] = ("%s=%s"):format(key, tostring(value))
        end
    end
    return #list > 0 and rt.json.array(list) or nil
end
M.labels_of = labels_of

M.containers = rt.effect {
    name = "docker.containers",
    class = "read",
    args = function(handle, options)
        local where = "docker.containers"
        local given = rt.options(options or {}, { all = "boolean", label = "string|table", name = "string", status = "string",
            image = "string" }, where)
        local label = type(given.label) == "string" and { given.label } or given.label
        return { engine = engine.plain(handle, where), all = given.all or given.status ~= nil, filters = engine.compact {
            label = labels_of(label, where), name = given.name and { given.name }, status = given.status and { given.status },
            ancestor = given.image and { given.image },
        } }
    end,
    describe = function() return "list containers" end,
    call = function(args) return M.listed(args.engine, args.all, args.filters) end,
    sample = function() return rt.json.array {} end,
}

return M
