-- service: what the modules of services behind an HTTP API have in common: one way to ask, and one way to say what went
-- wrong and what to do.
local rt = select(2, ...)
local http = require "rollout.http"

local service = {}

-- A pause that a service asks for is kept up to `max`; a longer one is told, and left to the step's `retry` or the gate's
-- `within`.
local RETRY = { times = 3, backoff = "500ms", max = "20s", statuses = { 500 } }

-- How a service is reached, besides what is its own.
local CONNECTION = { url = "string", ca = "string", proxy = "text", timeout = "duration", headers = "table" }

--- The options of a handle: `spec` and how it is reached. The URL has no slash at its end.
function service.options(given, spec, call)
    local all = {}
    for _, part in ipairs { CONNECTION, spec } do
        for name, kind in pairs(part) do
            all[name] = kind
        end
    end
    local where = rt.options(given or {}, all, call)
    if type(where.url) == "string" then
        if not where.url:find "^https?://[^/?#]" then
            rt.raise("usage", ("%s: url is %q; expected http:// or https://"):format(call, where.url))
        end
        where.url = where.url:gsub("/+$", "")
    end
    return where
end

--- An option that must be there, with what to give.
function service.demand(where, name, call, hint)
    if where[name] == nil then
        rt.raise("usage", ("%s: %s is missing: %s"):format(call, name, hint))
    end
    return where[name]
end

-- One short line, with nothing half masked.
local function line(text)
    text = rt.masked(rt.readable(text)):gsub("[%s%c]+", " ")
    return #text > 200 and text:sub(1, utf8.offset(text, 0, 200) - 1) .. " …" or text
end

-- What services call their reason.
local function words(value)
    if type(value) == "string" then
        return value ~= "" and value or nil
    elseif type(value) ~= "table" then
        return nil
    end
    for _, name in ipairs { "error", "message", "detail", "error_description", "title", "description", "errors" } do
        local said = value[name]
        if name == "errors" and type(said) == "table" then
            return rt.json.encode(said)
        end
        said = words(said)
        if said then
            return said
        end
    end
    return words(value[1])
end

local function reason(answer)
    local said = words(answer.json) or not answer.json and (answer.body:match "<title>(.-)</title>" or answer.body) or ""
    return said ~= "" and ": " .. line(said) or ""
end

-- 420 is how some say 429.
local CODES = { [401] = "access_denied", [403] = "access_denied", [404] = "not_found", [420] = "rate_limited",
    [429] = "rate_limited" }

local HINTS = {
    access_denied = "the credentials are missing, wrong or lack the right to do that",
    not_found = "what was named is not there, or these credentials may not see it",
}

local function refuse(request, answer)
    local status = answer.status
    local code = CODES[status] or (status >= 500 and "unavailable") or (status < 400 and "redirect") or "refused"
    local hint = request.hints and request.hints[code] or HINTS[code]
    local later = answer.headers["retry-after"]
    if code == "rate_limited" or code == "unavailable" then
        hint = not later and "nothing was learned; try again later"
            or "it asks to be left alone " .. (later:find "^%d+$" and "for " .. later .. " s" or "until " .. later)
    elseif code == "redirect" then
        hint = "it leads to " .. line(answer.headers.location or "somewhere else") .. ": give that as url"
    end
    rt.raise(code, ("%s: answered %d%s%s"):format(request.what, status, reason(answer), hint and " (" .. hint .. ")" or ""),
        { status = status, retry_after = later and math.tointeger(tonumber(later)) or nil })
end

local function merged(...)
    local all = {}
    for _, one in pairs { ... } do
        for name, value in pairs(one) do
            all[name] = value
        end
    end
    return all
end

--- Inside an effect: asks a service. request = { what = for messages, where = the handle's options, method = "GET", path or
--- url, query, json, form, body, headers, bearer, basic, idempotent, plain = true (the answer need not be JSON), accept =
--- { 404 } (statuses that are answers too), hints = { access_denied = what to do } }. → the JSON, the answer. Any other status
--- and whatever is no JSON is an error: access_denied, not_found, rate_limited, unavailable, refused, redirect, protocol.
function service.ask(request)
    local where = request.where
    local method = request.method or "GET"
    local answer = http.request(method, request.url or where.url .. request.path, {
        query = request.query, json = request.json, form = request.form, body = request.body, bearer = request.bearer,
        basic = request.basic, headers = merged({ Accept = "application/json" }, where.headers or {}, request.headers or {}),
        ca = where.ca, proxy = where.proxy, timeout = where.timeout, retry = RETRY,
        idempotent = method ~= "GET" and request.idempotent or nil,
    })
    local wanted = answer.status >= 200 and answer.status <= 299
    for _, status in ipairs(request.accept or {}) do
        wanted = wanted or status == answer.status
    end
    if not wanted then
        refuse(request, answer)
    elseif not request.plain and type(answer.json) ~= "table" then
        rt.raise("protocol", ("%s: answered %d, but not with JSON%s"):format(request.what, answer.status, reason(answer)),
            { status = answer.status })
    end
    return answer.json, answer
end

-- Where the service may have done it, and its answer was lost.
local LOST = { reset = true, timeout = true, unavailable = true, protocol = true }

--- rt.effect of class "probed", whose probe is also asked where an answer was lost: what was done is no error, and no reason to
--- do it again.
function service.probed(def)
    local call, probe = def.call, def.probe
    def.class = "probed"
    function def.call(args, ctx)
        local ok, result = pcall(call, args, ctx)
        if ok then
            return result
        elseif type(result) == "table" and LOST[result.code] and not result.control then
            local asked, state, value = pcall(probe, args, ctx)
            if asked and state == "done" then
                return value
            end
        end
        error(result, 0)
    end
    return rt.effect(def)
end

--- The value, which has to be a JSON array; else what answered is not `who`.
function service.list(value, what, who)
    if type(value) ~= "table" or getmetatable(value) == nil then
        rt.raise("protocol", ("%s: what answered is no %s"):format(what, who))
    end
    return value
end

--- The method variables of a handle: an expectation that each of the names is among those that `read` tells of. Names only: the
--- values of variables are kept nowhere.
function service.has_variables(read, where)
    return function(self, ...)
        local names, missing = { ... }, {}
        local options = type(names[#names]) == "table" and not rt.is_unknown(names[#names]) and table.remove(names) or {}
        local there = {}
        if #names == 0 then
            rt.raise("usage", where .. ": expects names of variables")
        end
        for _, name in ipairs(read(self, options)) do
            there[name] = true
        end
        for _, name in ipairs(names) do
            missing[#missing + 1] = not there[name] and name or nil
        end
        return rt.expectation { name = "variables", verdict = #missing == 0 and "pass" or "fail", measured = #names - #missing,
            limit = #names, text = #missing == 0 and ("all of %d variables are set"):format(#names)
                or "not set: " .. table.concat(missing, ", ") }
    end
end

--- The method is_live of a handle that has live() and where.service: an expectation that the deployment `wanted` (its id, what
--- live or deploy returned, or a commit's) runs.
function service.is_live(self, wanted)
    local id = type(wanted) == "table" and not rt.is_unknown(wanted) and wanted.id or wanted
    local live = self:live()
    local is = live and (live.id == id or live.commit == id)
    return rt.expectation { name = tostring(id) .. " is live", verdict = is and "pass" or "fail", limit = id,
        measured = live and live.id or "nothing",
        text = live and ("%s (commit %s) is live of %s"):format(live.id, live.commit or "unknown", self.where.service)
            or "nothing is live of " .. self.where.service }
end

--- Percent-encoded, for a path or a part of one.
function service.encoded(text)
    return (tostring(text):gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Inside an effect's call or probe: 32 hex digits that are the effect's own, the same when it is done again. What it leaves behind
--- is found by them.
function service.mark(ctx)
    return rt.sha256((ctx.dir or tostring(rt.now())) .. "\0" .. ctx.key):sub(1, 32)
end

--- Text that is at most `most` bytes long, cut where a character ends; nothing in it is half masked.
function service.shortened(text, most)
    text = rt.masked(text)
    return #text <= most and text or text:sub(1, utf8.offset(text, 0, most - 2) - 1) .. " …"
end

return service
