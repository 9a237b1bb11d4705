-- http: requests to servers. An answer of any status is a result; only where none came is there an error.
local native, rt = ...

local http = {}

local OPTIONS = {
    headers = "table", query = "table",
    bearer = "text", basic = "table",
    timeout = "duration", connect_timeout = "duration", retry = "table", redirects = "integer",
    max_body = "size", ca = "string", proxy = "text", unix_socket = "string",
}

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
    body = "text", json = "any", form = "table", idempotent = "boolean", idempotency_key = "text",
})
local CHECK = with(OPTIONS, {
    method = "string", status = "any", json = "table", body = "string", max_ms = "duration",
})

local CLASSES = { GET = "read", HEAD = "read", OPTIONS = "read", PUT = "idempotent", DELETE = "idempotent" }

-- What may pass by itself, and so is worth another attempt.
local TRANSIENT_STATUS = { [429] = true, [502] = true, [503] = true, [504] = true }
local TRANSIENT_ERROR = { connect = true, dns = true, network = true, reset = true }
-- The same for an unsafe request: only where it surely was not acted upon.
local REFUSED_STATUS = { [429] = true }
local REFUSED_ERROR = { connect = true, dns = true, network = true }

-- ---- arguments ----

local function fail(where, ...)
    rt.raise("usage", where .. ": " .. string.format(...))
end

-- What a value of a header, query or form may be; a placeholder of a plan is a table.
local function field_text(value, where, what)
    if type(value) == "number" or (type(value) == "boolean") then
        return tostring(value)
    end
    if type(value) ~= "string" and not rt.is_secret(value) and not (rt.mode() == "plan" and value ~= nil) then
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
    elseif not rt.is_secret(url) and not (rt.mode() == "plan" and url ~= nil) then
        fail(where, "the first argument is the URL, not %s", url == nil and "nil" or "a " .. type(url))
    end
    return url
end

local function credentials(args, given, where)
    local basic = given.basic
    if basic and given.bearer then
        fail(where, "bearer and basic exclude each other")
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
    if given == nil then
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

local function body(args, given, where)
    local kinds = {}
    for _, kind in ipairs { "body", "form", "json" } do
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
    end
end

local function retry(given, where)
    if not given then
        return nil
    end
    local spec = rt.options(given, { times = "integer", backoff = "duration", max = "duration" },
        where .. ": retry")
    local times = spec.times or 3
    if times < 1 then
        fail(where, "retry.times counts all attempts: 1 or more")
    end
    return { times = times, backoff = spec.backoff or 1000, max = spec.max or 60000 }
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
    credentials(args, given, where)
    if spec ~= CHECK then
        body(args, given, where)
    end
    if given.idempotency_key ~= nil then
        put_header(args.headers, "Idempotency-Key", given.idempotency_key)
    end
    args.class = CLASSES[method]
        or (given.idempotent or has_header(args.headers, "idempotency-key")) and "idempotent" or "unsafe"
    args.once = args.class == "unsafe"
    args.retry = retry(given.retry, where)
    return args
end

local function describe(args)
    return args.method .. " " .. (tostring(args.url):gsub("^(%a+://)[^/?#]*@", "%1"))
end

-- ---- the exchange ----

-- What may go to another host than the one that the playbook named: nothing that could be a credential.
local HARMLESS = { accept = true, ["accept-language"] = true, ["content-type"] = true, ["user-agent"] = true }

local function redirected(args, request, response)
    local target, status = response.redirect, response.status
    if response.redirect_to == "clear text" then
        rt.raise("redirect", describe(args) .. " redirects to http, where everyone on the way can read and "
            .. "change it; not followed")
    end
    local next_request = with(request, { url = target })
    next_request.query = nil
    if status == 303 and request.method ~= "HEAD" or (status == 301 or status == 302) and request.method == "POST" then
        next_request.method = "GET"
        next_request.body, next_request.json, next_request.form = nil, nil, nil
    end
    if response.redirect_to == "same origin" then
        return next_request
    end
    if next_request.body ~= nil or next_request.json ~= nil or next_request.form then
        rt.raise("redirect", ("%s redirects to %s, another host, which would get the request's body; not followed")
            :format(describe(args), target:match("^%a+://[^/?#]*")))
    end
    next_request.bearer, next_request.user, next_request.password = nil, nil, nil
    next_request.headers = {}
    for _, header in ipairs(request.headers) do
        if HARMLESS[header[1]:lower()] and not rt.is_secret(header[2]) then
            table.insert(next_request.headers, header)
        end
    end
    return next_request
end

-- One attempt, redirects included; `left` says how many ms there are.
local function attempt(args, delay, left)
    local request = with(args, { delay = delay })
    for _ = 0, args.redirects do
        request.timeout = left() - (request.delay or 0)
        local response = native.request(request)
        if args.redirects == 0 or not response.redirect then
            response.url = request.url
            return response
        end
        request = redirected(args, request, response)
        request.delay = nil
    end
    rt.raise("redirect", ("%s: more than %d redirects; the last one points to %s")
        :format(describe(args), args.redirects, request.url))
end

local function exchange(args)
    local deadline = rt.now() + args.timeout
    local function left()
        return math.max(deadline - rt.now(), 1)
    end
    if not args.retry then
        return attempt(args, nil, left)
    end
    local delay
    local passing, errors = TRANSIENT_STATUS, TRANSIENT_ERROR
    if args.class == "unsafe" then
        passing, errors = REFUSED_STATUS, REFUSED_ERROR
    end
    for n = 1, args.retry.times do
        local ok, result = pcall(attempt, args, delay, left)
        local again = ok and passing[result.status]
            or not ok and type(result) == "table" and errors[result.code]
        local asked = ok and result.retry_after * 1000 or 0
        delay = math.max(math.min(args.retry.backoff << (n - 1), args.retry.max), asked)
        if not again or n == args.retry.times or asked > args.retry.max or delay >= left() then
            if not ok then
                error(result, 0)
            end
            return result
        end
    end
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
    text = text:match("<title>(.-)</title>") or text
    local line = text:gsub("[%s%c]+", " "):gsub("^ ", ""):gsub(" $", "")
    if #line > 200 then
        line = line:sub(1, utf8.offset(line, 0, 200) - 1) .. " …"
    end
    return utf8.len(line) and line ~= "" and ": " .. line or ""
end

local function expect_status(args, response)
    local wanted = args.expect
    if not wanted and args.secret and response.status >= 300 then
        wanted = { 200 }
    end
    if wanted and not one_of(wanted, response.status) then
        rt.raise("status", ("%s answered %d, expected %s%s"):format(describe(args), response.status,
            table.concat(wanted, " or "), args.secret and "" or excerpt(response.body)),
            { status = response.status })
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
    local response = exchange(args)
    expect_status(args, response)
    local result = shape(args, response)
    return args.secret and extracted(args, result, ctx) or result
end

local function sample(args)
    local what = " of " .. describe(args)
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
    local spec = CLASSES[method] == "read" and READ or WRITE
    http[verb] = effect(name, function(url, opts)
        return arguments(method, url, opts, spec, name)
    end)
end

http.request = effect("http.request", function(method, url, opts)
    if type(method) ~= "string" or not method:find("^%a+$") then
        fail("http.request", "the first argument is the method, such as \"GET\"")
    end
    return arguments(method:upper(), url, opts, WRITE, "http.request")
end)

-- ---- http.check ----

-- Each condition gets the answer and what was asked for, and returns whether it holds, what was measured,
-- the limit, and the unit.
local CONDITIONS = {
    { "status", function(result, wanted)
        return one_of(wanted, result.status), result.status, table.concat(wanted, " or ")
    end },
    { "json", function(result, wanted)
        if result.json == nil then
            return false, result.json_error or "no JSON", "JSON"
        end
        local value = at_path(result.json, wanted.path)
        if wanted.equals == nil then
            return value ~= nil and value ~= rt.json.null, tostring(value), wanted.path .. " present"
        end
        return value == wanted.equals, value, wanted.equals
    end },
    { "body", function(result, wanted)
        return result.body:find(wanted) ~= nil, excerpt(result.body), "matches " .. wanted
    end },
    { "max_ms", function(result, wanted)
        return result.ms <= wanted, result.ms, wanted, "ms"
    end },
}

-- This machine's own trouble, which says nothing about the service.
local NO_DATA = { dns = true, network = true }

local function no_answer(args, err)
    if type(err) ~= "table" or not (TRANSIENT_ERROR[err.code] or err.code == "timeout" or err.code == "tls"
        or err.code == "protocol" or err.code == "body_too_large" or err.code == "redirect") then
        error(err, 0)
    end
    return {
        name = describe(args), verdict = NO_DATA[err.code] and "unknown" or "fail",
        measured = "no answer: " .. err.code, limit = table.concat(args.wanted.status, " or "),
        detail = { error = err.message },
    }
end

local function measure(args)
    local ok, response = pcall(exchange, args)
    if not ok then
        return no_answer(args, response)
    end
    local result = shape(args, response)
    local facts = { status = result.status, ms = result.ms, redirect = response.redirect }
    for _, condition in ipairs(CONDITIONS) do
        local name, holds = condition[1], condition[2]
        if args.wanted[name] ~= nil then
            local good, measured, limit, unit = holds(result, args.wanted[name])
            if not good then
                return {
                    name = describe(args) .. " " .. name, verdict = "fail",
                    measured = measured, limit = limit, unit = unit, detail = facts,
                }
            end
        end
    end
    return {
        name = describe(args), verdict = "pass", measured = result.status,
        limit = table.concat(args.wanted.status, " or "), detail = facts,
    }
end

local function check_arguments(url, opts)
    local where = "http.check"
    local given = rt.options(opts or {}, CHECK, where)
    local method = (given.method or "GET"):upper()
    if CLASSES[method] ~= "read" then
        fail(where, "a check changes nothing: GET or HEAD, not %s", method)
    end
    if given.json then
        given.json = rt.options(given.json, { path = { "string", required = true }, equals = "any" }, where .. ": json")
    end
    local args = arguments(method, url, opts, CHECK, where)
    args.wanted = {
        status = statuses(given.status, where, "status") or { 200 },
        json = given.json, body = given.body, max_ms = given.max_ms,
    }
    return args
end

local checked = rt.effect {
    name = "http.check",
    class = "read",
    args = check_arguments,
    describe = describe,
    call = measure,
    sample = function(args)
        return { name = describe(args), verdict = "unknown", measured = "not evaluated in a plan" }
    end,
}

function http.check(url, opts)
    return rt.expectation(checked(url, opts))
end

return http
