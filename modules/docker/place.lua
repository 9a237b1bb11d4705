-- What containers live in: networks and volumes; what happened to them; and the engine itself.
local _, rt, engine, container, create = ...

local M = {}

-- ---- the engine ----

local function about(verb, words, path, shape, fields, text)
    return rt.effect {
        name = "docker." .. verb,
        class = "read",
        args = function(handle) return { engine = engine.plain(handle, "docker." .. verb) } end,
        describe = function() return words end,
        call = function(args)
            local _, found = engine.ask(args.engine, { path = path, text = text, doing = words })
            return shape(found)
        end,
        sample = function()
            local value = {}
            for _, field in ipairs(fields) do
                value[field] = rt.unknown(field .. " of the engine")
            end
            return #fields > 0 and value or true
        end,
    }
end

M.ping = about("ping", "does the Docker engine answer", "/_ping", function() return true end, {}, "OK")

M.version = about("version", "version of the Docker engine", "/version", function(found)
    return { version = found.Version, api = found.ApiVersion, os = found.Os, architecture = found.Arch,
        kernel = found.KernelVersion }
end, { "version", "api", "os", "architecture", "kernel" })

-- ---- networks and volumes ----

-- Those whose name is exactly that.
local function networks(of, filters)
    local _, found = engine.ask(of, { path = "/networks", query = { filters = filters }, doing = "list the networks" })
    local list = {}
    for i, one in ipairs(found) do
        list[i] = { id = one.Id, name = one.Name, driver = one.Driver, internal = one.Internal, labels = one.Labels or {} }
    end
    return rt.json.array(list)
end

local function volumes(of, filters)
    local _, found = engine.ask(of, { path = "/volumes", query = { filters = filters }, doing = "list the volumes" })
    local list = {}
    for i, one in ipairs(found.Volumes or {}) do
        list[i] = { name = one.Name, driver = one.Driver, mountpoint = one.Mountpoint, labels = one.Labels or {} }
    end
    return rt.json.array(list)
end

local function lister(verb, list)
    return rt.effect {
        name = "docker." .. verb,
        class = "read",
        args = function(handle, options)
            local where = "docker." .. verb
            local given = rt.options(options or {}, { name = "string", label = "string|table" }, where)
            local label = type(given.label) == "string" and { given.label } or given.label
            return { engine = engine.plain(handle, where), filters = engine.compact { name = given.name and { given.name },
                label = container.labels_of(label, where) } }
        end,
        describe = function() return "list " .. verb end,
        call = function(args) return list(args.engine, args.filters) end,
        sample = function() return rt.json.array {} end,
    }
end

M.networks, M.volumes = lister("networks", networks), lister("volumes", volumes)

local function named(handle, name, where)
    return { engine = engine.plain(handle, where), name = engine.word(name, where, "the name") }
end

local function of_name(list, name)
    for _, one in ipairs(list) do
        if one.name == name then
            return one
        end
    end
end

M.create_network = rt.effect {
    name = "docker.create_network",
    class = "probed",
    args = function(handle, name, options)
        local args = named(handle, name, "docker.create_network")
        local given = rt.options(options or {}, { driver = "string", internal = "boolean", labels = "table" },
            "docker.create_network")
        args.driver, args.internal, args.labels = given.driver, given.internal, given.labels
        return args
    end,
    describe = function(args) return "create network " .. tostring(args.name) end,
    call = function(args, ctx)
        local labels = { [create.LABEL] = create.mark(ctx) }
        for name, value in pairs(args.labels or {}) do
            labels[name] = tostring(value)
        end
        local _, made = engine.ask(args.engine, { method = "POST", path = "/networks/create", once = true,
            doing = "create the network " .. args.name,
            json = { Name = args.name, Driver = args.driver, Internal = args.internal, Labels = labels, CheckDuplicate = true } })
        return { id = made.Id, name = args.name }
    end,
    probe = function(args, ctx)
        local found = networks(args.engine, { label = { create.LABEL .. "=" .. create.mark(ctx) } })[1]
        if found then
            return "done", { id = found.id, name = found.name }
        end
        return "undone"
    end,
    sample = function(args) return { id = rt.unknown("id of " .. tostring(args.name)), name = args.name } end,
}

M.create_volume = rt.effect {
    name = "docker.create_volume",
    class = "idempotent",
    args = function(handle, name, options)
        local args = named(handle, name, "docker.create_volume")
        args.labels = rt.options(options or {}, { labels = "table" }, "docker.create_volume").labels
        return args
    end,
    describe = function(args) return "create volume " .. tostring(args.name) end,
    call = function(args)
        local _, made = engine.ask(args.engine, { method = "POST", path = "/volumes/create",
            doing = "create the volume " .. args.name,
            json = { Name = args.name, Labels = args.labels } })
        return { name = made.Name, mountpoint = made.Mountpoint }
    end,
    sample = function(args) return { name = args.name, mountpoint = rt.unknown "mountpoint" } end,
}

local function remover(verb, kind, path, destructive)
    return rt.effect {
        name = "docker." .. verb,
        class = "idempotent",
        args = function(handle, name, options)
            local args = named(handle, name, "docker." .. verb)
            args.destructive = rt.options(options or {}, { destructive = "string" }, "docker." .. verb).destructive
            return args
        end,
        describe = function(args) return ("remove %s %s"):format(kind, tostring(args.name)) end,
        call = function(args)
            engine.ask(args.engine, { method = "DELETE", path = path .. engine.escaped(args.name), ok = { 404 },
                doing = ("remove the %s %s"):format(kind, args.name) })
            return true
        end,
        sample = function() return true end,
        destructive = destructive,
    }
end

M.remove_network = remover("remove_network", "network", "/networks/")
M.remove_volume = remover("remove_volume", "volume", "/volumes/", function(args)
    return "docker volume rm " .. tostring(args.name)
end)

--- A network by its name, or nil.
M.network = rt.effect {
    name = "docker.network",
    class = "read",
    args = function(handle, name) return named(handle, name, "docker.network") end,
    describe = function(args) return "look at network " .. tostring(args.name) end,
    call = function(args) return of_name(networks(args.engine, { name = { args.name } }), args.name) end,
    sample = function(args) return { name = args.name, id = rt.unknown("id of " .. tostring(args.name)) } end,
}

-- ---- what happened ----

local MOST = 1000

M.events = rt.effect {
    name = "docker.events",
    class = "read",
    args = function(handle, options)
        local where = "docker.events"
        local given = rt.options(options or {}, { since = { "duration", required = true }, container = "string", image = "string",
            type = "string", event = "string|table", label = "string|table" }, where)
        local function list(value)
            return value and (type(value) == "table" and value or { value })
        end
        return { engine = engine.plain(handle, where), since = given.since, filters = engine.compact {
            container = list(given.container), image = list(given.image), type = list(given.type), event = list(given.event),
            label = container.labels_of(list(given.label), where),
        } }
    end,
    describe = function(args) return "events of the Docker engine in the last " .. rt.show_duration(args.since) end,
    call = function(args)
        local now, list, total = rt.now(), {}, 0
        local answer <close> = engine.open(args.engine, { path = "/events", doing = "read the engine's events", timeout = 30000,
            query = { since = ("%.3f"):format((now - args.since) / 1000), ["until"] = ("%.3f"):format(now / 1000),
                filters = args.filters } })
        for line in engine.lines(answer) do
            local actor = line.Actor or {}
            total = total + 1
            if total <= MOST then
                list[total] = { at = (line.timeNano or 0) // 1000000, type = line.Type, action = line.Action, id = actor.ID,
                    name = actor.Attributes and actor.Attributes.name, image = actor.Attributes and actor.Attributes.image,
                    exit_code = actor.Attributes and math.tointeger(tonumber(actor.Attributes.exitCode)) }
            end
        end
        return { events = rt.json.array(list), total = total }
    end,
    sample = function() return { events = rt.json.array {}, total = rt.unknown "number of events" } end,
}

return M
