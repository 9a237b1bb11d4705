-- Compose projects. What changes them is compose's; what is asked of them is the engine's, by the labels that compose gives
-- to its containers: a hundredth of the time.
local _, rt, engine, command, container, exec, health, output = ...

local M = {}

local UP_MS = 300000
local PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
local NUMBER, ONE_OFF = "com.docker.compose.container-number", "com.docker.compose.oneoff"

-- ---- a project ----

local function plain(app, where)
    if type(app) ~= "table" or type(rawget(app, "project")) ~= "string" then
        engine.fail(where, "call it with a colon on what docker.compose returned: app:%s(…)", where:match("[^.]+$"))
    end
    return { engine = app.engine, project = app.project, files = app.files, cwd = app.cwd or nil, env = app.env or nil,
        profiles = app.profiles or nil, env_file = app.env_file or nil }
end

-- "web", { "web", "db" } or { "web", wait = … }: services and options.
local function services_of(given, options, spec, where)
    local services = {}
    if type(given) == "string" then
        services[1] = given
    elseif type(given) == "table" and not rt.is_unknown(given) then
        options = options or {}
        local named = {}
        for key, value in pairs(given) do
            if math.type(key) == "integer" then
                services[key] = value
            else
                named[key] = value
            end
        end
        for key, value in pairs(options) do
            named[key] = value
        end
        options = named
    end
    for _, name in ipairs(services) do
        engine.word(name, where, "a service")
    end
    return rt.json.array(services), rt.options(options or {}, spec, where)
end

-- { service, name, id, … } of the project's containers, by service and number.
local function members(app, services)
    local wanted = {}
    for _, name in ipairs(services or {}) do
        wanted[name] = true
    end
    local list = {}
    for _, one in ipairs(container.listed(app.engine, true, { label = { PROJECT .. "=" .. app.project } })) do
        local labels = one.labels
        if labels[ONE_OFF] ~= "True" and (next(wanted) == nil or wanted[labels[SERVICE]]) then
            list[#list + 1] = { service = labels[SERVICE], number = math.tointeger(tonumber(labels[NUMBER])) or 1, name = one.name,
                id = one.id, image = one.image, state = one.state, status = one.status, health = one.health, ports = one.ports }
        end
    end
    table.sort(list, function(a, b)
        return a.service < b.service or a.service == b.service and a.number < b.number
    end)
    return rt.json.array(list)
end

local function ids_of(list)
    local ids = {}
    for i, one in ipairs(list) do
        ids[i] = one.id
    end
    return ids
end

-- ---- what went wrong ----

-- The reasons of containers that are not as they should be.
local function ailing(app)
    local parts = {}
    local ok, list = pcall(members, app)
    for _, one in ipairs(ok and list or {}) do
        local seen, found = pcall(health.inspect, app.engine, one.id)
        local verdict, words = "waiting", nil
        if seen then
            verdict, words = health.judge(found)
        end
        if verdict == "failed" and #parts < 3 then
            parts[#parts + 1] = ("\n%s is %s%s"):format(one.name, words, health.why(app.engine, found))
        end
    end
    return table.concat(parts)
end

-- Says why a command of compose failed: no engine, a file with an error, or what it said and what its containers said.
local function explain(app, ctx, result, doing)
    engine.ask(app.engine, { path = "/_ping", text = "OK", doing = doing })
    local checked = command.compose(ctx, app, { "config", "--quiet" }, { main = false })
    local code, whole = "compose", ctx.log and "\n  its whole output: " .. ctx.log or ""
    if checked.code ~= 0 then
        code, result = "compose_file", checked
    else
        local found = engine.code_of(0, result.err, nil)
        code = found == "port_in_use" and found or code
    end
    rt.raise(code, ("docker: could not %s the project %s (exit %s)%s%s%s"):format(doing, app.project,
        tostring(result.signal or result.code), command.said(result), code == "compose_file" and "" or ailing(app), whole),
        { code = result.code, log = ctx.log })
end

local function run(app, ctx, argv, doing, opts)
    local result = command.compose(ctx, app, argv, opts)
    if result.code ~= 0 then
        explain(app, ctx, result, doing)
    end
    return result
end

-- ---- verbs of compose's ----

-- Of (app, services, options). def: class, options, argv(args), words, after(args, ctx, result), sample, destructive.
local function verb(name, def)
    local where = "compose." .. name
    local words = def.words or name
    return rt.effect {
        name = "docker." .. where,
        class = def.class or "idempotent",
        command = true,
        args = function(app, services, options)
            local base = plain(app, where)
            local list, given = services_of(services, options, def.options or {}, where)
            given.app, given.services = base, list
            if def.check then
                def.check(given, where)
            end
            return given
        end,
        describe = function(args)
            local of = #args.services > 0 and " " .. table.concat(args.services, ", ") or ""
            return ("compose %s%s of %s"):format(words, of, args.app.project)
        end,
        call = function(args, ctx)
            local argv = def.argv(args)
            table.move(args.services, 1, #args.services, #argv + 1, argv)
            local result = run(args.app, ctx, argv, words, { env = args.args })
            return def.after and def.after(args, ctx, result) or true
        end,
        sample = def.sample or function() return true end,
        destructive = def.destructive,
    }
end

local function flags(argv, args, names)
    for option, flag in pairs(names) do
        if args[option] then
            argv[#argv + 1] = flag
        end
    end
    return argv
end

local function grace(argv, args)
    if args.grace then
        argv[#argv + 1] = "--timeout"
        argv[#argv + 1] = tostring((args.grace + 999) // 1000)
    end
    return argv
end

-- What compose started is only up when its health checks say so.
local function settled(args, _, _)
    local app = args.app
    local list = members(app, args.services)
    if #list == 0 then
        rt.raise("compose", ("docker: the project %s has no container%s"):format(app.project, #args.services > 0 and " of "
            .. table.concat(args.services, ", ") or ""))
    end
    health.need(app.engine, ids_of(list), args.within or UP_MS, "the project " .. app.project .. " does not come up")
    return members(app, args.services)
end

local function unknown_list(args)
    return rt.unknown("containers of " .. args.app.project)
end

M.up = verb("up", {
    options = { within = "duration", build = "boolean", recreate = "boolean", remove_orphans = "boolean", no_deps = "boolean",
        grace = "duration" },
    argv = function(args)
        local argv = flags({ "up", "--detach" }, args, { build = "--build", recreate = "--force-recreate",
            remove_orphans = "--remove-orphans", no_deps = "--no-deps" })
        return grace(argv, args)
    end,
    after = settled, sample = unknown_list,
})

M.down = rt.effect {
    name = "docker.compose.down",
    class = "idempotent",
    command = true,
    args = function(app, options)
        local where = "compose.down"
        local args = rt.options(options or {}, { volumes = "boolean", remove_orphans = "boolean", grace = "duration",
            destructive = "string" }, where)
        args.app = plain(app, where)
        return args
    end,
    describe = function(args)
        return ("compose down of %s%s"):format(args.app.project, args.volumes and ", with its volumes" or "")
    end,
    call = function(args, ctx)
        run(args.app, ctx, grace(flags({ "down" }, args, { volumes = "--volumes", remove_orphans = "--remove-orphans" }), args),
            "down")
        return true
    end,
    sample = function() return true end,
    destructive = function(args) return args.volumes and "docker compose down -v" or nil end,
}

M.build = verb("build", {
    options = { pull = "boolean", no_cache = "boolean", args = "table" },
    argv = function(args)
        local argv = flags({ "build" }, args, { pull = "--pull", no_cache = "--no-cache" })
        for name in pairs(args.args or {}) do
            argv[#argv + 1] = "--build-arg"
            argv[#argv + 1] = name
        end
        return argv
    end,
})

M.pull = verb("pull", { argv = function() return { "pull", "--quiet" } end })

M.stop = verb("stop", { options = { grace = "duration" }, argv = function(args) return grace({ "stop" }, args) end })

M.start = verb("start", { options = { within = "duration" }, argv = function() return { "start" } end, after = settled,
    sample = unknown_list })

M.restart = verb("restart", { options = { grace = "duration", within = "duration" },
    argv = function(args) return grace({ "restart" }, args) end, after = settled, sample = unknown_list })

--- app:scale { web = 3 }
function M.scale(app, counts, options)
    local services, list = {}, {}
    for name, count in pairs(rt.is_unknown(counts) and {} or counts or {}) do
        if type(name) ~= "string" or math.type(count) ~= "integer" or count < 0 then
            engine.fail("compose.scale", "expected how many of each service: app:scale { web = 3 }")
        end
        services[#services + 1] = name
        list[#list + 1] = name .. "=" .. count
    end
    if #services == 0 then
        engine.fail("compose.scale", "expected how many of each service: app:scale { web = 3 }")
    end
    local given = rt.options(options or {}, { within = "duration" }, "compose.scale")
    return M.do_scale(app, services, { counts = list, within = given.within and rt.show_duration(given.within) })
end

M.do_scale = verb("scale", {
    options = { counts = "table", within = "duration" },
    argv = function(args)
        local argv = { "up", "--detach", "--no-recreate", "--no-deps" }
        for _, one in ipairs(args.counts) do
            argv[#argv + 1] = "--scale"
            argv[#argv + 1] = one
        end
        return argv
    end,
    after = function(args) return args.counts[1]:find("=0$") and members(args.app, args.services) or settled(args) end,
    sample = unknown_list,
})

M.config = rt.effect {
    name = "docker.compose.config",
    class = "read",
    args = function(app) return { app = plain(app, "compose.config") } end,
    describe = function(args) return ("is the compose file of %s valid (%s)"):format(args.app.project,
        table.concat(args.app.files, ", ")) end,
    call = function(args, ctx)
        local found = command.compose(ctx, args.app, { "config", "--services" }, { main = false })
        if found.code ~= 0 then
            rt.raise("compose_file", ("docker: the compose file of %s (%s) is not valid%s"):format(args.app.project,
                table.concat(args.app.files, ", "), command.said(found)))
        end
        local names = {}
        for name in found.out:gmatch("[^\r\n]+") do
            names[#names + 1] = name
        end
        table.sort(names)
        local missing = {} -- compose takes a variable that is not there for an empty text
        for name in found.err:gmatch('The \\?"?([%w_]+)\\?"? variable is not set') do
            missing[#missing + 1] = name
        end
        return { services = rt.json.array(names), missing = rt.json.array(missing) }
    end,
    sample = function(args) return { services = rt.unknown("services of " .. args.app.project), missing = rt.json.array {} } end,
}

-- ---- commands ----

local with_defaults = { "cwd", "user", "ok", "capture" }

--- Runs a command in a new container of the service: { code, out, err, ms, truncated }.
M.run = rt.effect {
    name = "docker.compose.run",
    class = function(args) return args.idempotent and "idempotent" or "unsafe" end,
    command = true,
    args = function(app, service, argv, options)
        local where = "compose.run"
        local given = exec.exec_fields(argv, options, where)
        local args = { app = plain(app, where), service = engine.word(service, where, "the service"), argv = given.argv,
            idempotent = given.idempotent, destructive = given.destructive, timeout = given.timeout, stdin = given.stdin,
            env = {} }
        for _, name in ipairs(with_defaults) do
            args[name] = given[name]
        end
        local env = type(options) == "table" and options.env or type(argv) == "table" and argv.env or {}
        for name, value in pairs(env) do
            args.env[name] = math.type(value) and tostring(value) or value
        end
        return args
    end,
    describe = function(args) return ("`%s` in a new container of %s"):format(table.concat(args.argv, " "), args.service) end,
    call = function(args, ctx)
        local argv = { "run", "--rm", "-T", "--no-deps" }
        for name in pairs(args.env) do
            table.move({ "-e", name }, 1, 2, #argv + 1, argv) -- the value comes from compose's environment
        end
        for option, flag in pairs { user = "--user", cwd = "--workdir" } do
            if args[option] then
                table.move({ flag, args[option] }, 1, 2, #argv + 1, argv)
            end
        end
        argv[#argv + 1] = args.service
        table.move(args.argv, 1, #args.argv, #argv + 1, argv)
        local result = command.compose(ctx, args.app, argv, { env = args.env, timeout = args.timeout, input = args.stdin })
        for _, code in ipairs(args.ok) do
            if result.code == code then
                return { code = result.code, out = result.out, err = result.err, ms = result.ms, truncated = result.truncated }
            end
        end
        engine.ask(args.app.engine, { path = "/_ping", text = "OK", doing = "run a command" })
        rt.raise("exit", ("docker: `%s` in a new container of %s exited with %s%s"):format(table.concat(args.argv, " "),
            args.service,
            tostring(result.signal or result.code), command.said(result)), { code = result.code, log = ctx.log })
    end,
    sample = function(args)
        return { code = args.ok[1], out = rt.unknown "output", err = rt.unknown "errors", ms = rt.unknown "time",
            truncated = false }
    end,
    destructive = exec.destruction,
}

-- The running container of a service. What is found in a step is kept with it: a resumed one goes on with the same container.
local function found_in(app, service, index)
    local list, words = members(app, { service }), nil
    for _, one in ipairs(list) do
        if one.state == "running" and (not index or one.number == index) then
            return { id = one.id, name = one.name }
        end
        words = ("%s is %s"):format(one.name, one.state)
    end
    local named = {}
    for _, one in ipairs(members(app)) do
        named[#named + 1] = one.service
    end
    local hint = not words and rt.suggest(service, named)
    rt.raise("no_container", ("docker: the project %s has no running container of %s%s"):format(app.project, service,
        words and ": " .. words or hint and ": " .. hint or #named == 0 and "; nothing of it is up" or ""))
end

local find = rt.effect {
    name = "docker.compose.find",
    class = "read",
    args = function(app, service, index)
        return { app = plain(app, "compose.exec"), service = engine.word(service, "compose.exec", "the service"), index = index }
    end,
    describe = function(args) return ("the container of %s in %s"):format(args.service, args.app.project) end,
    call = function(args) return found_in(args.app, args.service, args.index) end,
    sample = function(args) return { id = rt.unknown("container of " .. args.service), name = args.service } end,
}

local function in_service(fields, app, service)
    local found = find(app, service)
    fields.engine, fields.name, fields.label = app.engine, found.id, found.name
    return fields
end

--- Runs a command in the service's running container: { code, out, err, bytes, ms, truncated }.
function M.exec(app, service, argv, options)
    return exec.run(in_service(exec.exec_fields(argv, options, "compose.exec"), app, service))
end

--- The same for a command that is declared to change nothing: allowed in checks.
function M.read(app, service, argv, options)
    return exec.read_of(in_service(exec.read_fields(argv, options, "compose.read"), app, service))
end

-- ---- looking ----

local function reader(name, def)
    local where = "compose." .. name
    return rt.effect {
        name = "docker." .. where,
        class = "read",
        args = function(app, services, options)
            local base = plain(app, where)
            local list, given = services_of(services, options, def.options or {}, where)
            given.app, given.services = base, list
            return given
        end,
        describe = function(args)
            return ("%s of %s%s"):format(def.words, args.app.project, #args.services > 0 and ": "
                .. table.concat(args.services, ", ") or "")
        end,
        call = def.call,
        sample = def.sample or unknown_list,
    }
end

M.ps = reader("ps", { words = "containers", call = function(args) return members(args.app, args.services) end })

-- The first of the services that has no container in the list, or nil.
local function lacking(list, services)
    local there = {}
    for _, one in ipairs(list) do
        there[one.service] = true
    end
    for _, service in ipairs(services or {}) do
        if not there[service] then
            return service
        end
    end
end

--- What each container of the services uses: `container:stats` with service, number and name. A service without one is an error.
M.stats = reader("stats", {
    words = "measure the containers",
    call = function(args)
        local list, measures = members(args.app, args.services), {}
        local missing = lacking(list, args.services)
        if missing then
            rt.raise("no_container", ("docker: %s has no container of %s"):format(args.app.project, missing))
        end
        for i, one in ipairs(list) do
            measures[i] = function()
                local used = container.measured { engine = args.app.engine, name = one.name }
                used.service, used.number, used.name = one.service, one.number, one.name
                return used
            end
        end
        return rt.json.array(rt.together(measures))
    end,
})

M.logs = reader("logs", {
    words = "log", options = { tail = "integer", since = "duration", timestamps = "boolean", capture = "size" },
    call = function(args)
        local logs, list = {}, members(args.app, args.services)
        local missing = lacking(list, args.services)
        if missing then -- what was never there has said nothing wrong
            rt.raise("no_container", ("docker: the project %s has no container of %s"):format(args.app.project, missing))
        end
        for i, one in ipairs(list) do
            local found = health.inspect(args.app.engine, one.id)
            local said = output.logs(args.app.engine, one.id, { tail = args.tail, timestamps = args.timestamps,
                capture = args.capture,
                tty = found.Config.Tty, since = args.since and ("%.3f"):format((rt.now() - args.since) / 1000) })
            said.service, said.name = one.service, one.name
            logs[i] = said
        end
        return rt.json.array(logs)
    end,
})

M.port = rt.effect {
    name = "docker.compose.port",
    class = "read",
    args = function(app, service, port)
        if math.type(port) ~= "integer" and not rt.is_unknown(port) then
            engine.fail("compose.port", "expected the port inside: app:port(\"web\", 80)")
        end
        return { app = plain(app, "compose.port"), service = engine.word(service, "compose.port", "the service"), port = port }
    end,
    describe = function(args) return ("where port %s of %s is published"):format(tostring(args.port), args.service) end,
    call = function(args)
        for _, one in ipairs(members(args.app, { args.service })) do
            for _, port in ipairs(one.ports) do
                if port.container:match("^%d+") == tostring(args.port) then
                    return { ip = port.ip, port = port.port }
                end
            end
        end
        rt.raise("missing", ("docker: port %d of %s is not published"):format(args.port, args.service))
    end,
    sample = function(args) return { ip = "127.0.0.1", port = rt.unknown("port of " .. args.service) } end,
}

local measure = reader("healthy", {
    words = "are the containers healthy", options = { within = "duration" },
    call = function(args)
        local app, list = args.app, members(args.app, args.services)
        local found = {}
        for i, state in ipairs(health.await(app.engine, ids_of(list), args.within or 0)) do
            local failed = state.verdict == "failed" or state.verdict == "waiting"
            found[i] = { name = health.name(state.found) .. " is up", verdict = failed and "fail" or "pass", measured = state.words,
                limit = "healthy", detail = failed and health.why(app.engine, state.found):gsub("^; ", "") or nil }
        end
        for _, service in ipairs(args.services) do
            local there = false
            for _, one in ipairs(list) do
                there = there or one.service == service
            end
            if not there then
                found[#found + 1] = { name = service .. " is up", verdict = "fail", measured = "no container", limit = "healthy" }
            end
        end
        if #found == 0 then
            found[1] = { name = app.project .. " is up", verdict = "fail", measured = "no container", limit = "healthy" }
        end
        return rt.json.array(found)
    end,
    sample = function(args) return { { name = args.app.project .. " is up", verdict = "pass", measured = "healthy" } } end,
})

--- Expectations, one a container: it runs, and its health check, if it has one, passes.
function M.healthy(app, services, options)
    local list = {}
    for i, found in ipairs(measure(app, services, options)) do
        found.text = found.verdict == "pass" and found.name or ("%s: it is %s%s"):format(found.name, found.measured,
            found.detail and "; " .. found.detail or "")
        list[i] = rt.expectation(found)
    end
    return list
end

return M
