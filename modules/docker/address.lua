-- Where an engine listens: what the playbook says, the environment, a context of the docker command; and the way there by ssh.
local native, rt, engine = ...

local M = {}

local DEFAULT = "unix:///var/run/docker.sock"
local SSH_MS = 30000

local function readable(path)
    local ok, found = pcall(rt.native("fs").work, { verb = "read", path = path, limit = 1 << 20 })
    return ok and found or nil
end

local function decoded(path)
    local value = engine.from_json(readable(path) or "")
    return type(value) == "table" and value or nil
end

-- The context that `docker context use` chose, or the one that is named: { host, ca, certificate, key }.
local function context(name, env)
    local folder = env.DOCKER_CONFIG or (env.HOME and env.HOME .. "/.docker")
    name = name or (folder and (decoded(folder .. "/config.json") or {}).currentContext)
    if not name or name == "default" then
        return nil
    end
    local id = rt.sha256(name)
    local meta = folder and decoded(("%s/contexts/meta/%s/meta.json"):format(folder, id))
    local host = meta and meta.Endpoints and meta.Endpoints.docker and meta.Endpoints.docker.Host
    if not host then
        rt.raise("usage", ("docker: there is no context %q in %s (docker context ls)"):format(name, tostring(folder)))
    end
    local tls = ("%s/contexts/tls/%s/docker/"):format(folder, id)
    local has_tls = readable(tls .. "ca.pem") ~= nil
    return { host = host, ca = has_tls and tls .. "ca.pem" or nil, certificate = has_tls and tls .. "cert.pem" or nil,
        key = has_tls and tls .. "key.pem" or nil }
end

local function from_environment(env)
    local certificates = env.DOCKER_CERT_PATH or (env.HOME and env.HOME .. "/.docker")
    local tls = env.DOCKER_TLS_VERIFY and certificates
    return { host = env.DOCKER_HOST, ca = tls and tls .. "/ca.pem", certificate = tls and tls .. "/cert.pem",
        key = tls and tls .. "/key.pem" }
end

local function place_of(of)
    local env = native.environment()
    local found = of
    if not of.host then
        found = of.context and context(of.context, env)
            or env.DOCKER_HOST and from_environment(env)
            or context(env.DOCKER_CONTEXT, env) or { host = DEFAULT }
    end
    local host = found.host
    local place = { host = host, ca = found.ca or nil, certificate = found.certificate or nil, key = found.key or nil }
    local path = host:match("^unix://(/.+)$")
    local address = host:match("^tcp://([^/]+)/?$") or host:match("^https?://([^/]+)/?$")
    local user, port, socket = host:match("^ssh://([^/:]+):?(%d*)(/?.*)$")
    if user then
        place.ssh = { to = engine.word(user, "docker", "the host"), port = port ~= "" and port or nil,
            socket = #socket > 1 and socket or "/var/run/docker.sock" }
    elseif path then
        place.unix_socket, place.base = path, "http://docker"
    elseif address then
        place.base = ((place.ca or host:find("^https")) and "https://" or "http://") .. address
    else
        rt.raise("usage", ("docker: %q is no address of an engine: unix:///path, tcp://host:2376, ssh://user@host"):format(host))
    end
    return place
end

local places = {} -- by handle: where an engine is does not change while the host runs

--- { host, unix_socket | base, ca, certificate, key } of an engine's plain data.
function M.place(of)
    local name = rt.json.encode(of)
    places[name] = places[name] or place_of(of)
    return places[name]
end

-- ---- the way to it, where that is ssh ----

local function is_there(path)
    local ok, found = pcall(rt.native("fs").work, { verb = "stat", path = path })
    return ok and found ~= nil
end

-- ssh leads a socket here to the engine's; a service, which ends with its stage and outlives the host.
local function begin_tunnel(place, sh)
    local n, id = 0
    repeat
        n = n + 1
        id = "docker-ssh-" .. n
    until sh.state(id) == "never"
    local folder = native.folder()
    local socket = folder .. "/docker.sock"
    local argv = { "ssh", "-N", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15",
        "-o", "ControlPath=none", "-L", socket .. ":" .. place.ssh.socket }
    if place.ssh.port then
        table.move({ "-p", place.ssh.port }, 1, 2, #argv + 1, argv)
    end
    table.move({ "--", place.ssh.to }, 1, 2, #argv + 1, argv)
    sh.run { id = id, argv = argv, service = true }
    rt.service(id)
    local deadline = rt.now() + SSH_MS
    while not is_there(socket) do
        if sh.state(id) ~= "alive" then
            local ended = sh.run { id = id, argv = argv }
            rt.raise("ssh", ("docker: no way to %s%s"):format(place.host, ended.err:find("%S") and ":\n  "
                .. rt.last_lines(ended.err, 5) or ""))
        elseif rt.now() > deadline then
            rt.raise("ssh", ("docker: no way to %s within %s"):format(place.host, rt.show_duration(SSH_MS)))
        end
        native.sleep(20)
    end
    place.unix_socket, place.base, place.tunnel = socket, "http://docker", id
end

--- The same, once there is a way to it. For the docker command: place.host, or the socket of that way.
function M.reach(of)
    local place = M.place(of)
    if place.ssh then
        local sh = rt.native("sh")
        if not place.tunnel or sh.state(place.tunnel) ~= "alive" then
            begin_tunnel(place, sh)
        end
    end
    return place
end

return M
