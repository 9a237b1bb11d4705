-- How the engine is asked: requests, and what is made of its refusals. address.lua finds it.
local native, rt, address_part = ...

local M = {}

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

--- Decoded, or nil.
local function from_json(text)
    local ok, value = pcall(rt.json.decode, text)
    if ok then
        return without_nulls(value)
    end
end
M.from_json = from_json

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

local address = address_part(native, rt, M)
M.place, M.reach = address.place, address.reach

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
local NOT_FOR_US = { "unauthorized", "access denied", "is denied", "authentication required", "no basic auth credentials" }

local function holds_any(said, list)
    for _, words in ipairs(list) do
        if said:find(words, 1, true) then
            return true
        end
    end
    return false
end

--- Whether that is what an engine says of a registry that wants other credentials, or some.
function M.not_for_us(said)
    return holds_any(said, NOT_FOR_US)
end

-- What a refusal is called; for ports, and what a registry refuses, the engine has no status of its own.
function M.code_of(status, said, missing)
    if holds_any(said, BUSY_PORT) then
        return "port_in_use"
    elseif status == 500 and M.not_for_us(said) then
        return "permission"
    elseif status == 404 then
        return said:find("^network ") and "missing" or missing or "missing"
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
    local hint = code == "port_in_use" and "; see what listens there (ss -ltnp), or which container has it (docker ps)"
        or code == "no_image" and request.unless_there or ""
    rt.raise(code, ("docker: could not %s: %s%s"):format(request.doing, said ~= "" and said or "status " .. status, hint),
        { status = status, host = address.place(engine).host })
end

local function prepared(engine, request)
    local place = address.reach(engine)
    return {
        method = request.method or "GET", url = place.base .. request.path .. query_of(request.query),
        unix_socket = place.unix_socket, ca = place.ca, certificate = place.certificate, key = place.key,
        json = request.json, file = request.file, auth = request.auth, headers = request.headers,
        timeout = request.timeout, stall = request.stall, once = request.once, input = request.input,
        framed = request.framed, log = request.log, lines = request.lines,
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
--- ok (statuses beside 2xx), text (that it answers instead of JSON), doing, missing, once, file, auth }.
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
    if type(value) ~= "table" and answer.body ~= (request.text or "") then
        rt.raise("protocol", ("docker: what answers at %s is no Docker engine, it says: %s"):format(place.host,
            rt.readable(rt.masked(answer.body):sub(1, 100))))
    end
    return answer.status, value
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

return M
