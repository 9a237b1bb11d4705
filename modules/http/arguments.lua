-- What the calls of http take, made into the one table that is journaled, compared on replay, and handed to
-- describe and call.
local rt = ...

local M = {}

local OPTIONS = {
    headers = "table", query = "table",
    bearer = "text", basic = "table",
    timeout = "duration", connect_timeout = "duration", retry = "table", redirects = "integer",
    max_body = "size", ca = "string", proxy = "text", unix_socket = "string", aws = "table",
    public_only = "boolean", session = "table", client = "table",
}

-- A copy of `base` with `more` in it.
local function with(base, more)
    local all = {}
    for name, kind in pairs(base) do
        all[name] = kind
    end
    for name, kind in pairs(more) do
        all[name] = kind
    end
    return all
end

local READ = with(OPTIONS, { expect = "any", secret = "any" })
local WRITE = with(READ, {
    body = "text", json = "any", form = "table", file = "string|table", stall = "duration", multipart = "table",
    idempotent = "boolean", idempotency_key = "text",
})
local DOWNLOAD = with(OPTIONS, { expect = "any", to = "string", mode = "string", sha256 = "string", stall = "duration" })
local DIGEST = with(OPTIONS, { expect = "any", stall = "duration" })
local CHECK = with(OPTIONS, {
    method = "string", status = "any", json = "table", body = "string", body_not = "string", max_ms = "duration",
    min_bytes = "size", max_bytes = "size", expect_headers = "table", security = "table|boolean", cors = "string|boolean",
    certificate = "table|boolean", to_https = "boolean",
})

local SAMPLE = with(OPTIONS, {
    method = "string", expect = "any", body = "text", json = "any", form = "table", idempotent = "boolean",
    n = "integer", duration = "duration", concurrency = "integer", rate = "number",
})
SAMPLE.redirects, SAMPLE.retry = nil, nil

local WEEK = 7 * 24 * 3600 * 1000

local CLASSES = { GET = "read", HEAD = "read", OPTIONS = "read", PUT = "idempotent", DELETE = "idempotent" }

local function fail(where, ...)
    rt.raise("usage", where .. ": " .. string.format(...))
end

-- What a value of a header, query or form may be; a placeholder of a plan is a table.
local function field_text(value, where, what)
    if type(value) == "number" or (type(value) == "boolean") then
        return tostring(value)
    end
    if type(value) ~= "string" and not rt.is_secret(value) and not rt.is_unknown(value) then
        fail(where, "%s is a %s; expected text, a number or a secret", what, type(value))
    end
    return value
end

-- { b = 2, a = 1 } → { { "a", "1" }, { "b", "2" } }: sorted, so that equal requests are sent alike.
local function fields(given, where, what)
    local names, list = {}, {}
    for name in pairs(given) do
        if type(name) ~= "string" then
            fail(where, "%s is a table of name = value", what)
        end
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        list[#list + 1] = { name, field_text(given[name], where, what .. "." .. name) }
    end
    return list
end

local function has_header(headers, name)
    for _, header in ipairs(headers) do
        if header[1]:lower() == name then
            return true
        end
    end
    return false
end

local function put_header(headers, name, value)
    if not has_header(headers, name:lower()) then
        headers[#headers + 1] = { name, value }
    end
end

local function checked_url(url, where)
    if type(url) == "string" then
        if not url:lower():find("^https?://[^/?#]") then
            rt.raise("url", ("%s: %q is not an http:// or https:// URL"):format(where, url))
        end
        if url:find("[%s%c]") then
            rt.raise("url", ("%s: the URL %q has a space or control character in it; "
                .. "give parameters with query = { … }"):format(where, url))
        end
    elseif not rt.is_secret(url) and not rt.is_unknown(url) then
        fail(where, "the first argument is the URL, not %s", url == nil and "nil" or "a " .. type(url))
    end
    return url
end

local function signature(given, where)
    if given == nil then
        return nil
    end
    return rt.options(given, {
        access_key = { "text", required = true }, secret_key = { "text", required = true }, session_token = "text",
        region = { "string", required = true }, service = { "string", default = "s3" },
    }, where .. ": aws")
end

local function credentials(args, given, where)
    local basic = given.basic
    if (basic and 1 or 0) + (given.bearer and 1 or 0) + (given.aws and 1 or 0) > 1 then
        fail(where, "bearer, basic and aws exclude each other")
    end
    args.aws = signature(given.aws, where)
    if args.aws and given.multipart then
        fail(where, "a multipart form cannot be signed")
    end
    if (basic or given.bearer) and has_header(args.headers, "authorization") then
        fail(where, "headers.Authorization and %s exclude each other", basic and "basic" or "bearer")
    end
    args.bearer = given.bearer
    if basic then
        args.user = field_text(basic.user or basic[1], where, "basic.user")
        args.password = field_text(basic.password or basic[2], where, "basic.password")
    end
end

local function statuses(given, where, what)
    if given == nil or rt.is_unknown(given) then
        return nil
    end
    local list = type(given) == "table" and given or { given }
    for _, status in ipairs(list) do
        if math.type(status) ~= "integer" or status < 100 or status > 599 then
            fail(where, "%s is a status such as 200, or a list of them", what)
        end
    end
    if #list == 0 then
        fail(where, "%s is empty: no status would be right", what)
    end
    return list
end

-- The file, or the part of it, that is sent.
local function sent_file(args, given, where)
    local file = type(given) == "string" and { path = given } or rt.options(given, {
        path = { "string", required = true }, offset = { "integer", default = 0 }, size = "integer",
    }, where .. ": file")
    args.file, args.file_offset, args.file_size = file.path, file.offset, file.size
    if (file.offset or 0) < 0 or (file.size or 0) < 0 then
        fail(where, "file.offset and file.size are not negative")
    end
end

-- { title = "x", report = { file = "a.pdf" } } → { { name, text }, { name, file, filename, type } }, sorted
local function parts(given, where)
    local list = {}
    for name, value in pairs(given) do
        if type(name) ~= "string" then
            fail(where, "multipart is a table of name = value")
        end
        local part
        if type(value) ~= "table" or rt.is_unknown(value) then
            part = { text = field_text(value, where, "multipart." .. name) }
        else
            part = rt.options(value, { file = "string", text = "text", filename = "string", type = "string" },
                where .. ": multipart." .. name)
            if (part.file == nil) == (part.text == nil) then
                fail(where, "multipart.%s is a text or a file", name)
            end
            part.filename = part.file and (part.filename or part.file:match("[^/]*$")) or nil
        end
        part.name = name
        list[#list + 1] = part
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    if #list == 0 then
        fail(where, "multipart is empty")
    end
    return list
end

local function body(args, given, where)
    local kinds = {}
    for _, kind in ipairs { "body", "form", "json", "file", "multipart" } do
        if given[kind] ~= nil then
            kinds[#kinds + 1] = kind
        end
    end
    if #kinds > 1 then
        fail(where, "%s exclude each other", table.concat(kinds, " and "))
    end
    args.body, args.json = given.body, given.json
    if given.json ~= nil then
        put_header(args.headers, "Content-Type", "application/json")
    elseif given.form then
        args.form = fields(given.form, where, "form")
        put_header(args.headers, "Content-Type", "application/x-www-form-urlencoded")
    elseif given.file then
        sent_file(args, given.file, where)
    elseif given.multipart then
        args.multipart = parts(given.multipart, where)
    end
end

-- Nothing says how long a file takes: the step's deadline holds, and it may not stand still.
local function as_stream(args, given)
    args.timeout = given.timeout or WEEK
    args.stall = given.stall or 60000
end

local function retry(given, where)
    if not given then
        return nil
    end
    local spec = rt.options(given, { times = "integer", backoff = "duration", max = "duration", statuses = "table" },
        where .. ": retry")
    local times = spec.times or 3
    if times < 1 then
        fail(where, "retry.times counts all attempts: 1 or more")
    end
    return { times = times, backoff = spec.backoff or 1000, max = spec.max or 60000, statuses = spec.statuses }
end

local function secret_path(given, where)
    if given == nil or given == false then
        return nil
    end
    if given == true then
        return "body"
    end
    if type(given) ~= "string" or not (given == "body" or given:find("^json%.%S+$")
        or given:find("^headers%.%S+$")) then
        fail(where, 'secret names what is secret in the answer: "json.token", "headers.set-cookie", or "body"')
    end
    return given
end

-- The one table that is journaled, compared on replay, and handed to describe and call.
local function arguments(method, url, opts, spec, where)
    local given = rt.options(opts or {}, spec, where)
    local args = {
        method = method, url = checked_url(url, where),
        query = given.query and fields(given.query, where, "query"),
        headers = fields(given.headers or {}, where, "headers"),
        timeout = given.timeout or 30000, connect_timeout = given.connect_timeout,
        redirects = given.redirects or 0, max_body = given.max_body,
        ca = given.ca, proxy = given.proxy, unix_socket = given.unix_socket,
        expect = statuses(given.expect, where, "expect"), secret = secret_path(given.secret, where),
    }
    if given.public_only and (given.proxy or given.unix_socket) then
        fail(where, "public_only: behind a proxy or a socket nobody here knows which address is asked")
    end
    args.public_only = given.public_only or nil
    if given.session then
        args.session, args.inner = M.session_of(given.session, where)
    end
    if given.client then
        local client = rt.options(given.client, { cert = { "string", required = true }, key = { "string", required = true } },
            where .. ": client")
        args.certificate_file, args.key_file = client.cert, client.key
    end
    credentials(args, given, where)
    body(args, (spec == WRITE or spec == SAMPLE) and given or {}, where)
    if given.file or given.multipart or spec == DOWNLOAD or spec == DIGEST then
        as_stream(args, given)
    end
    if given.idempotency_key ~= nil then
        put_header(args.headers, "Idempotency-Key", given.idempotency_key)
    end
    args.class = CLASSES[method]
        or (given.idempotent or has_header(args.headers, "idempotency-key")) and "idempotent" or "unsafe"
    args.once = args.class == "unsafe"
    args.retry = retry(given.retry, where)
    return args, given
end

local function digest(given, where)
    if given ~= nil and not rt.is_unknown(given) and not (#given == 64 and given:find("^%x+$")) then
        fail(where, "sha256 is 64 hexadecimal digits")
    end
    return type(given) == "string" and given:lower() or given
end

local function describe(args)
    return args.method .. " " .. (tostring(args.url):gsub("^(%a+://)[^/?#]*@", "%1"))
end

M.options = { read = READ, write = WRITE, check = CHECK, download = DOWNLOAD, digest = DIGEST,
    sample = SAMPLE }
M.classes = CLASSES
M.put_header = put_header
M.with, M.fail, M.statuses, M.arguments, M.describe, M.digest = with, fail, statuses, arguments, describe, digest

return M
