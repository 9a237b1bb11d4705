-- docker: an engine, by its API over a socket, and compose projects, by compose. Handles are pure. address.lua finds it and
-- engine.lua asks; output.lua, exec.lua and lines.lua read what containers print; command.lua runs docker and compose.
local native, rt = ...

rt.native("http") -- whose engine the requests go through, and who closes it

local parts = native.parts
local engine = parts.engine(native, rt, parts.address)
local output = parts.output(native, rt, engine)
local health = parts.health(native, rt, engine, output)
local container = parts.container(native, rt, engine, output, health)
local exec = parts.exec(native, rt, engine, output, container)
local create = parts.create(native, rt, engine, output, health, container, exec)
local command = parts.command(native, rt, engine)
local image = parts.image(native, rt, engine, command)
local place = parts.place(native, rt, engine, container, create)
native.lines = parts.lines(native, rt, engine, output, health, container)
local compose = parts.compose(native, rt, engine, command, container, exec, health, output)

local M = {}

-- A source for rollout.log.
local function log_of(containers, name)
    rt.require "log"
    return rt.native("log").containers(containers, name)
end

-- ---- a container ----

local Container = rt.class("docker.container", {
    inspect = container.inspect, start = container.start, stop = container.stop, restart = container.restart, kill = container.kill,
    rename = container.rename, remove = container.remove, wait = container.wait, logs = container.logs, stats = container.stats,
    healthy = container.healthy, exec = exec.exec, read = exec.read,
    log = function(handle)
        local of = container.plain(handle, "docker.log")
        return log_of({ engine = of.engine, name = of.name }, "container " .. of.name)
    end,
}, function(handle) return "container " .. tostring(handle.name) end)

-- By its name, its id, or what a step returned of it.
local function container_of(handle, named)
    local of = engine.plain(handle, "docker.container")
    if type(named) == "table" and not rt.is_unknown(named) then
        named = named.name or named.id
    end
    return setmetatable({ engine = of, name = engine.word(named, "docker.container", "the name") }, Container)
end

-- ---- an engine ----

local Engine = rt.class("docker.engine", {
    ping = place.ping, version = place.version, containers = container.containers, container = container_of,
    create = create.create, run = create.run,
    images = image.images, image = image.image, digest = image.digest, pull = image.pull, push = image.push, tag = image.tag,
    build = image.build, load = image.load, remove_image = image.remove_image,
    networks = place.networks, network = place.network, create_network = place.create_network,
        remove_network = place.remove_network,
    volumes = place.volumes, create_volume = place.create_volume, remove_volume = place.remove_volume, events = place.events,
}, function(handle) return "docker " .. tostring(handle.engine.host or "engine") end)

--- An engine: { host = "unix:///run/docker.sock" | "tcp://host:2376", ca, certificate, key (PEM files), context }. Without a host:
--- what DOCKER_HOST, or the context of the docker command, says; else this machine's. Nothing is opened before an effect uses it.
function M.engine(options)
    local where = "docker.engine"
    local given = rt.options(options or {}, { host = "string", ca = "string", certificate = "string", key = "string",
        context = "string" }, where)
    if (given.certificate == nil) ~= (given.key == nil) or given.certificate and not given.ca then
        engine.fail(where, "certificate, key and ca go together")
    elseif given.host and given.context then
        engine.fail(where, "a context says what the host is: give one of them")
    end
    return setmetatable({ engine = engine.compact(given) }, Engine)
end

-- ---- a compose project ----

local App = rt.class("docker.compose", {
    up = compose.up, down = compose.down, build = compose.build, pull = compose.pull, start = compose.start, stop = compose.stop,
    restart = compose.restart, scale = compose.scale, config = compose.config, run = compose.run, exec = compose.exec,
    read = compose.read, ps = compose.ps, stats = compose.stats, logs = compose.logs, port = compose.port,
    healthy = compose.healthy,
    log = function(app, service)
        engine.word(service, "compose.log", "the service")
        return log_of({ engine = app.engine, project = app.project, service = service }, ("%s of %s"):format(service, app.project))
    end,
}, function(app) return "compose " .. tostring(app.project) end)

local function strings(list, where, what)
    for _, one in ipairs(list) do
        engine.word(one, where, what)
    end
    return list
end

--- A compose project: { project, files, cwd, env = { NAME = text | secret }, env_file, profiles, engine = docker.engine{…} }.
function M.compose(options)
    local where = "docker.compose"
    local given = rt.options(options, { project = { "string", required = true }, files = "table", cwd = "string", env = "table",
        env_file = "string", profiles = "table", engine = "table" }, where)
    if not given.project:find("^[%l%d][%l%d_%-]*$") then
        engine.fail(where, "project %q cannot be: lower-case letters, digits, - and _", given.project)
    end
    local files = strings(given.files or { "docker-compose.yml" }, where, "a file")
    if #files == 0 then
        engine.fail(where, "files is empty")
    end
    exec.environment(given.env, where)
    return setmetatable({ engine = given.engine and engine.plain(given.engine, where) or {}, project = given.project, files = files,
        cwd = given.cwd or false, env = given.env or false, env_file = given.env_file or false,
        profiles = given.profiles and strings(given.profiles, where, "a profile") or false }, App)
end

return M
