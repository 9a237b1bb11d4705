-- How the engine is found and asked: where it listens, requests, and what is made of its refusals.
local native, rt = ...

local M = {}

local DEFAULT = "unix:///var/run/docker.sock"
local READ_MS = 30000

-- The engine writes null where nothing is.
local function without_nulls(value)
    if type(value) == "table" then
        for key, field in pairs(value) do
            if field == rt.json.null then
                value[key] = nil
            else
                without_nulls(field)
            end
        end
    end
    return value
end

local function from_json(text)
    local ok, value = pcall(rt.json.decode, text)
    if ok then
        return without_nulls(value)
    end
end

-- ---- where it is ----

local function readable(path)
    local ok, found = pcall(rt.native("fs").work, { verb = "read", path = path, limit = 1 << 20 })
    return ok and found or nil
end

local function decoded(path)
    local value = from_json(readable(path) or "")
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

local function place_of(engine)
    local env = native.environment()
    local found = engine
    if not engine.host then
        found = engine.context and context(engine.context, env)
            or env.DOCKER_HOST and from_environment(env)
            or context(env.DOCKER_CONTEXT, env) or { host = DEFAULT }
    end
    local host = found.host
    local place = { host = host, ca = found.ca or nil, certificate = found.certificate or nil, key = found.key or nil }
    local path = host:match("^unix://(/.+)$")
    local address = host:match("^tcp://([^/]+)/?$") or host:match("^https?://([^/]+)/?$")
    if path then
        place.unix_socket, place.base = path, "http://docker"
    elseif address then
        place.base = ((place.ca or host:find("^https")) and "https://" or "http://") .. address
    else
        rt.raise("usage", ("docker: %q is no address of an engine: unix:///path, tcp://host:2376"):format(host))
    end
    return place
end

local places = {} -- by handle: where an engine is does not change while the host runs

--- { host, unix_socket | base, ca, certificate, key } of an engine's plain data.
function M.place(engine)
    local name = rt.json.encode(engine)
    places[name] = places[name] or place_of(engine)
    return places[name]
end

-- ---- asking ----

local function escaped(text)
    return (text:gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end
M.escaped = escaped

-- { all = true, filters = { label = { "a" } } } → "?all=true&filters=…"
local function query_of(fields)
    local parts = {}
    for name, value in pairs(fields or {}) do
        if type(value) == "table" then
            value = rt.json.encode(value)
        end
        parts[#parts + 1] = name .. "=" .. escaped(tostring(value))
    end
    return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

local function unreachable(place, err)
    local said = tostring(err.message)
    if err.code == "connect" and said:find("Permission denied", 1, true) then
        rt.raise("permission", ("docker: this user may not use %s: run as a member of the group that owns it (docker),"
            .. " or as root"):format(place.host))
    elseif err.code == "connect" or err.code == "dns" or err.code == "network" then
        rt.raise("no_daemon", ("docker: no engine answers at %s: is dockerd running there? (%s)"):format(place.host,
            said:match(": (.*)$") or said))
    elseif err.code == "reset" then
        rt.raise("no_daemon", ("docker: the engine at %s went away before it had answered (%s)"):format(place.host,
            said:match(": (.*)$") or said))
    end
    error(err, 0)
end

local function message_of(body)
    local value = from_json(body)
    return type(value) == "table" and type(value.message) == "string" and value.message or (body:gsub("%s+$", ""))
end

local BUSY_PORT = { "port is already allocated", "address already in use", "ports are not available" }

-- What a refusal is called; for ports the engine has no status of its own.
function M.code_of(status, said, missing)
    for _, words in ipairs(BUSY_PORT) do
        if said:find(words, 1, true) then
            return "port_in_use"
        end
    end
    if status == 404 then
        return missing or "missing"
    elseif status == 409 then
        return "conflict"
    elseif status == 401 or status == 403 then
        return "permission"
    end
    return "docker"
end

--- Raises what the engine's answer of that status says. request: { doing = "start web", missing = code of a 404 }.
function M.refuse(engine, request, status, body)
    local said = message_of(body)
    local code = M.code_of(status, said, request.missing)
    local hint = code == "port_in_use" and "; see what listens there (ss -ltnp), or which container has it (docker ps)" or ""
    rt.raise(code, ("docker: could not %s: %s%s"):format(request.doing, said ~= "" and said or "status " .. status, hint),
        { status = status, host = M.place(engine).host })
end

local function prepared(engine, request)
    local place = M.place(engine)
    return {
        method = request.method or "GET", url = place.base .. request.path .. query_of(request.query),
        unix_socket = place.unix_socket, ca = place.ca, certificate = place.certificate, key = place.key,
        json = request.json, file = request.file, auth = request.auth, headers = request.headers,
        timeout = request.timeout, stall = request.stall, once = request.once, framed = request.framed,
    }, place
end

local function expected(request, status)
    for _, one in ipairs(request.ok or {}) do
        if one == status then
            return true
        end
    end
    return status >= 200 and status < 300
end

--- Asks, and returns the status and the decoded answer. request: { method, path, query, json, timeout (ms; false: none),
--- ok (statuses beside 2xx), doing, missing, once, file, auth }.
function M.ask(engine, request)
    local sent, place = prepared(engine, request)
    if sent.timeout == nil then
        sent.timeout = READ_MS
    end
    sent.timeout = sent.timeout or nil
    local ok, answer = pcall(native.request, sent)
    if not ok then
        unreachable(place, answer)
    elseif not expected(request, answer.status) then
        M.refuse(engine, request, answer.status, answer.body)
    end
    local value = from_json(answer.body)
    return answer.status, value == nil and answer.body or value
end

--- Opens an answer that comes bit by bit. To be closed: `local stream <close> = …`.
function M.open(engine, request)
    local sent, place = prepared(engine, request)
    sent.timeout = sent.timeout or nil
    local stream = native.open(sent)
    local self = { stream = stream }
    function self.next()
        local ok, out, err = pcall(stream.next, stream)
        if not ok then
            unreachable(place, out)
        elseif not out then
            local status, body = stream:status()
            if not expected(request, status) then
                M.refuse(engine, request, status, body)
            end
        end
        return out, err
    end
    return setmetatable(self, { __close = function() stream:close() end })
end

--- Iterates over the answer's lines of JSON.
function M.lines(answer)
    local rest = ""
    return function()
        while true do
            local line, after = rest:match("^([^\n]*)\n()")
            if not line then
                local more = answer.next()
                if not more then
                    line, after = rest, #rest + 1
                    if line == "" then
                        return nil
                    end
                else
                    rest = rest .. more
                end
            end
            if line then
                rest = rest:sub(after)
                local value = from_json(line)
                if type(value) == "table" then
                    return value
                elseif line:find("%S") then
                    rt.raise("protocol", "docker: the engine sends what is no JSON: " .. line:sub(1, 200))
                end
            end
        end
    end
end

-- ---- arguments ----

function M.fail(where, ...)
    rt.raise("usage", where .. ": " .. string.format(...))
end

--- A text that may stand in a path or an argument.
function M.word(value, where, what)
    if rt.is_unknown(value) then
        return value
    elseif rt.is_secret(value) or type(value) ~= "string" or value == "" then
        M.fail(where, "%s is %s; expected a text", what, rt.is_secret(value) and "a secret" or value == nil and "missing"
            or value == "" and "empty" or "a " .. type(value))
    elseif value:find("%c") or value:find("^%-") then
        M.fail(where, "%s %q cannot be: it begins with - or holds a control character", what, value)
    end
    return value
end

--- What is journaled of a handle's engine.
function M.plain(handle, where)
    local engine = type(handle) == "table" and rawget(handle, "engine")
    if type(engine) ~= "table" then
        M.fail(where, "call it with a colon on what docker.engine returned: engine:%s(…)", where:match("[^.]+$"))
    end
    return engine
end

--- A copy without what is false, for the journal.
function M.compact(fields)
    local kept = {}
    for name, value in pairs(fields) do
        if value ~= nil and value ~= false then
            kept[name] = value
        end
    end
    return kept
end

--- The last lines of a text, each with two spaces before it.
function M.last_lines(text, count)
    local lines = {}
    for line in rt.readable(text):gmatch("[^\r\n]+") do
        if line:find("%S") then
            lines[#lines + 1] = "  " .. (#line > 300 and line:sub(1, 300) .. "…" or line)
        end
    end
    return table.concat(lines, "\n", math.max(1, #lines - count + 1))
end

return M
