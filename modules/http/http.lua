-- http: requests to servers. An answer of any status is a result; only where none came is there an error.
local native, rt = ...

local parts = native.parts
local asked = parts.arguments(rt)
local with, describe = asked.with, asked.describe

local http = {}
local sessions = parts.session(rt, asked, native, http)

-- What may pass by itself, and so is worth another attempt.
local TRANSIENT_STATUS = { [429] = true, [502] = true, [503] = true, [504] = true }
local TRANSIENT_ERROR = { connect = true, dns = true, network = true, reset = true, timeout = true }
-- The same for an unsafe request: only where it surely was not acted upon.
local REFUSED_STATUS = { [429] = true }
local REFUSED_ERROR = { connect = true, dns = true, network = true }

-- ---- the exchange ----

-- What may go to another host than the one that the playbook named: nothing that could be a credential.
local HARMLESS = { accept = true, ["accept-language"] = true, ["content-type"] = true, ["user-agent"] = true }

local function redirected(args, request, response)
    local target, status = response.redirect, response.status
    if not target:lower():find "^https?:" then
        rt.raise("redirect", ("%s redirects to %s, which is neither http nor https; not followed"):format(describe(args), target))
    elseif response.redirect_to == "clear text" then
        rt.raise("redirect", describe(args) .. " redirects to http, where everyone on the way can read and "
            .. "change it; not followed")
    end
    local next_request = with(request, { url = target })
    next_request.query = nil
    if status == 303 and request.method ~= "HEAD" or (status == 301 or status == 302) and request.method == "POST" then
        next_request.method = "GET"
        next_request.body, next_request.json, next_request.form, next_request.file = nil, nil, nil, nil
        next_request.multipart = nil
    end
    if response.redirect_to == "same origin" then
        return next_request
    end
    if next_request.body ~= nil or next_request.json ~= nil or next_request.form or next_request.file
        or next_request.multipart then
        rt.raise("redirect", ("%s redirects to %s, another host, which would get the request's body; not followed")
            :format(describe(args), target:match("^%a+://[^/?#]*")))
    end
    next_request.bearer, next_request.user, next_request.password, next_request.aws = nil, nil, nil, nil
    next_request.certificate_file, next_request.key_file = nil, nil
    -- what the world's servers point to is not this network's business (a cloud's metadata service)
    next_request.public_only = args.public_only or not (response.private_peer or args.proxy or args.unix_socket) or nil
    next_request.headers = {}
    for _, header in ipairs(request.headers) do
        if HARMLESS[header[1]:lower()] and not rt.is_secret(header[2]) then
            table.insert(next_request.headers, header)
        end
    end
    return next_request
end

-- One attempt, redirects included; `left` says how many ms there are. What is answered by another page to read (303) was acted
-- upon: state.acted, whatever becomes of that page.
local function attempt(args, left, state)
    local request = with(args, { jar = sessions.jar(args) })
    for _ = 0, args.redirects do
        request.timeout = left()
        state.acted = request.method ~= args.method
        local response = native.request(request)
        if args.redirects == 0 or not response.redirect then
            response.url, response.acted = request.url, state.acted
            return response
        end
        request = redirected(args, request, response)
    end
    rt.raise("redirect", ("%s: more than %d redirects; the last one points to %s")
        :format(describe(args), args.redirects, request.url))
end

local function send(args)
    local deadline = rt.now() + args.timeout
    local function left()
        return math.max(deadline - rt.now(), 1)
    end
    local state = {}
    if not args.retry then
        return attempt(args, left, state)
    end
    local backoff = args.retry.backoff
    local statuses, errors = TRANSIENT_STATUS, TRANSIENT_ERROR
    if args.class == "unsafe" then
        statuses, errors = REFUSED_STATUS, REFUSED_ERROR
    elseif args.retry.statuses then
        statuses = with(statuses, {})
        for _, status in ipairs(args.retry.statuses) do
            statuses[status] = true
        end
    end
    for n = 1, args.retry.times do
        local ok, result = pcall(attempt, args, left, state)
        local again = ok and statuses[result.status]
            or not ok and type(result) == "table" and errors[result.code]
        if args.class == "unsafe" and state.acted then
            again = false
        end
        local told = ok and result.retry_after * 1000 or 0
        local pause = math.max(backoff, told)
        if not again or n == args.retry.times or told > args.retry.max or pause >= left() then
            if not ok then
                error(result, 0)
            end
            return result
        end
        backoff = math.min(backoff * 2, args.retry.max)
        rt.sleep(pause)
    end
end

local function exchange(args)
    return sessions.exchange(args, send)
end

-- ---- the result ----

local function one_of(list, status)
    for _, wanted in ipairs(list) do
        if wanted == status then
            return true
        end
    end
    return false
end

-- Text of an answer that is fit for one line of a message.
local function excerpt(text)
    text = rt.masked(text:match("<title>(.-)</title>") or text)
    local line = text:gsub("[%s%c]+", " "):gsub("^ ", ""):gsub(" $", "")
    if #line > 200 then
        line = line:sub(1, utf8.offset(line, 0, 200) - 1) .. " …"
    end
    return utf8.len(line) and line or "bytes that are not text"
end

local function expect_status(args, response)
    local wanted = args.expect
    if not wanted and args.secret and response.status >= 300 then
        wanted = { 200 }
    end
    if wanted and not one_of(wanted, response.status) then
        local said = args.secret and "" or excerpt(response.body)
        rt.raise("status", ("%s answered %d, expected %s%s"):format(describe(args), response.status,
            table.concat(wanted, " or "), said ~= "" and ": " .. said or ""), { status = response.status })
    end
end

local function is_json(headers)
    local kind = (headers["content-type"] or ""):lower():match("^[^;%s]*")
    return kind == "application/json" or kind:find("+json", 1, true) ~= nil
end

-- Plain data, fit for the journal. A cookie is a credential that nobody declared: it is left out.
local function shape(args, response)
    local result = {
        status = response.status, headers = response.headers, body = response.body, ms = response.ms,
        url = rt.is_secret(response.url) and tostring(response.url) or response.url,
        sent = response.sent and { bytes = response.sent, sha256 = response.sent_sha256 } or nil,
    }
    if args.secret ~= "headers.set-cookie" then
        result.headers["set-cookie"] = nil
    end
    if is_json(result.headers) and args.method ~= "HEAD" then
        local ok, value = pcall(rt.json.decode, result.body)
        if ok then
            result.json = value
        else
            result.json_error = type(value) == "table" and value.message or tostring(value)
        end
    end
    return result
end

local function at_path(value, path)
    for name in path:gmatch("[^.]+") do
        if type(value) ~= "table" then
            return nil
        end
        local found = value[name]
        value = found == nil and value[math.tointeger(tonumber(name))] or found
    end
    return value
end

-- Named after the effect, which is unique in the run: a step's result refers to a secret by its name.
local function extracted(args, result, ctx)
    local value = at_path(result, args.secret)
    if type(value) == "number" then
        value = tostring(value)
    end
    if type(value) ~= "string" or value == "" then
        rt.raise("secret", ("%s answered %d without a text at %s"):format(describe(args), result.status, args.secret))
    end
    return native.secret(args.secret .. " of " .. ctx.key, value)
end

local function call(args, ctx)
    local response = exchange(args.file and with(args, { progress = ctx.unit or nil }) or args)
    expect_status(args, response)
    local result = shape(args, response)
    return args.secret and extracted(args, result, ctx) or result
end

local function sample(args)
    local what = " of " .. describe(args)
    if args.secret then
        return rt.unknown(args.secret .. what)
    end
    return {
        status = args.expect and args.expect[1] or 200,
        headers = rt.unknown("headers" .. what), body = rt.unknown("body" .. what),
        json = rt.unknown("json" .. what), ms = rt.unknown("ms" .. what), url = args.url,
    }
end

local function effect(name, arguments_of)
    return rt.effect {
        name = name,
        class = function(args) return args.class end,
        args = arguments_of,
        describe = describe,
        call = call,
        sample = sample,
        secret = function(args) return args.secret ~= nil end,
    }
end

for _, verb in ipairs { "get", "head", "post", "put", "patch", "delete" } do
    local name, method = "http." .. verb, verb:upper()
    local spec = asked.classes[method] == "read" and asked.options.read or asked.options.write
    http[verb] = effect(name, function(url, opts)
        return asked.arguments(method, url, opts, spec, name)
    end)
end

http.request = effect("http.request", function(method, url, opts)
    if type(method) ~= "string" or not method:find("^%a+$") then
        asked.fail("http.request", "the first argument is the method, such as \"GET\"")
    end
    return asked.arguments(method:upper(), url, opts, asked.options.write, "http.request")
end)

-- ---- files ----

local function success(args, response)
    if args.expect or response.status < 200 or response.status > 299 then
        expect_status(with(args, { expect = args.expect or { 200 } }), response)
    end
end

--- GETs a URL into the file `to`, which is whole or not there: hashed on the way, synced, renamed.
http.download = rt.effect {
    name = "http.download",
    class = "idempotent",
    args = function(url, opts)
        local where = "http.download"
        local args, given = asked.arguments("GET", url, opts, asked.options.download, where)
        if given.to == nil or given.to == "" then
            asked.fail(where, "to is missing: the file that is to be written")
        end
        if given.mode and not (type(given.mode) == "string" and given.mode:find("^0?[0-7][0-7][0-7]$")) then
            asked.fail(where, 'mode is octal text such as "0640"')
        end
        args.to, args.to_mode = given.to, given.mode and tonumber(given.mode, 8)
        args.sha256 = asked.digest(given.sha256, where)
        return args
    end,
    describe = function(args)
        return describe(args) .. " into " .. tostring(args.to)
    end,
    call = function(args, ctx)
        -- the same when the effect is done again, and nobody else's: what a killed host has left is written over
        local mark = ctx.dir and rt.sha256(ctx.dir .. "\0" .. ctx.key):sub(1, 16) or nil
        local response = exchange(with(args, { to_mark = mark, progress = ctx.unit or nil }))
        success(args, response)
        local result = shape(args, response)
        return { status = result.status, headers = result.headers, url = result.url, ms = result.ms, path = args.to,
            bytes = response.received, sha256 = response.sha256 }
    end,
    sample = function(args)
        local what = " of " .. describe(args)
        return { status = 200, headers = rt.unknown("headers" .. what), url = args.url, ms = rt.unknown("ms" .. what),
            path = args.to, bytes = rt.unknown("bytes" .. what), sha256 = args.sha256 or rt.unknown("SHA-256" .. what) }
    end,
    exact = { "path", "to" },
}

--- GETs a URL and keeps nothing but its size and SHA-256.
http.sha256 = rt.effect {
    name = "http.sha256",
    class = "read",
    args = function(url, opts)
        local args = asked.arguments("GET", url, opts, asked.options.digest, "http.sha256")
        args.digest = true
        return args
    end,
    describe = function(args)
        return "SHA-256 of " .. describe(args)
    end,
    call = function(args, ctx)
        local response = exchange(with(args, { progress = ctx.unit or nil }))
        success(args, response)
        return { status = response.status, headers = shape(args, response).headers, bytes = response.received,
            sha256 = response.sha256, ms = response.ms }
    end,
    sample = function(args)
        local what = " of " .. describe(args)
        return { status = 200, headers = rt.unknown("headers" .. what), bytes = rt.unknown("bytes" .. what),
            sha256 = rt.unknown("SHA-256" .. what), ms = rt.unknown("ms" .. what) }
    end,
}

http.sample = parts.sample(rt, asked, function(args)
    return sessions.exchange(args, function()
        return native.sample(with(args, { jar = sessions.jar(args) }))
    end)
end)

--- A pure handle: { url, login = function(session) … end } and what its requests have in common.
http.session = sessions.new

local client = { exchange = exchange, shape = shape, at_path = at_path, excerpt = excerpt, one_of = one_of }
http.check = parts.check(rt, asked, client, parts.conditions(rt, asked, client))

return http
