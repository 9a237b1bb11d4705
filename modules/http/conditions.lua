-- What http.check may demand of an answer. A condition returns nothing where it holds, else a miss: { text, measured, limit,
-- unit }, or a list of them.
local rt, asked, client = ...

local at_path, one_of, excerpt = client.at_path, client.one_of, client.excerpt

local DAY = 86400

local function shown(value)
    return type(value) == "table" and rt.json.encode(value) or value == nil and "missing" or tostring(value)
end

local function miss(what, measured, limit, unit)
    local suffix = unit and " " .. unit or ""
    return { text = ("%s %s%s, expected %s%s"):format(what, shown(measured), suffix, shown(limit), suffix), measured = measured,
        limit = limit, unit = unit }
end

-- ---- what is demanded ----

local JSON = { path = { "string", required = true }, equals = "any", matches = "string", at_least = "number", at_most = "number",
    one_of = "table" }
local SECURITY = { hsts = "duration|boolean", csp = "string|boolean", nosniff = "boolean", frames = "boolean",
    referrer = "boolean" }
local CERTIFICATE = { days = { "integer", default = 14 }, issuer = "string" }

local function json_of(given, where)
    if given == nil then
        return nil
    end
    local list = given[1] and given or { given }
    local wanted = {}
    for i, one in ipairs(list) do
        wanted[i] = rt.options(one, JSON, where .. ": json")
    end
    return wanted
end

-- true means all of it; a table what it names.
local function security_of(given, where)
    if given == true then
        given = { hsts = true, csp = true, nosniff = true, frames = true, referrer = true }
    end
    if not given then
        return nil
    end
    local wanted = rt.options(given, SECURITY, where .. ": security")
    -- half a year: what browsers' preload lists, and every scanner, ask for at least
    wanted.hsts = wanted.hsts == true and rt.duration "180d" or wanted.hsts or nil
    return wanted
end

local function headers_of(given, where)
    if not given then
        return nil
    end
    local wanted = {}
    for name, value in pairs(given) do
        if type(name) ~= "string" or (type(value) ~= "string" and type(value) ~= "boolean") then
            asked.fail(where, 'expect_headers is { ["content-type"] = "a Lua pattern", ["x-there"] = true, ["x-not"] = false }')
        end
        wanted[#wanted + 1] = { name:lower(), value }
    end
    table.sort(wanted, function(a, b) return a[1] < b[1] end)
    return wanted
end

local M = {}

function M.wanted(url, given, where)
    local cors = given.cors
    local certificate = given.certificate and rt.options(given.certificate == true and {} or given.certificate, CERTIFICATE,
        where .. ": certificate")
    if given.to_https and type(url) == "string" and not url:find "^[hH][tT][tT][pP]:" then
        asked.fail(where, "to_https asks whether http:// leads to https://, so the URL is the http:// one")
    elseif certificate and type(url) == "string" and not url:find "^[hH][tT][tT][pP][sS]:" then
        asked.fail(where, "certificate: only https:// has one")
    end
    return {
        status = asked.statuses(given.status, where, "status") or given.to_https and { 301, 302, 303, 307, 308 } or { 200 },
        json = json_of(given.json, where), body = given.body, body_not = given.body_not, max_ms = given.max_ms,
        min_bytes = given.min_bytes, max_bytes = given.max_bytes, headers = headers_of(given.expect_headers, where),
        security = security_of(given.security, where), certificate = certificate or nil, to_https = given.to_https or nil,
        cors = cors == true and "https://foreign.invalid" or cors or nil,
    }
end

-- ---- whether it holds ----

local CONDITIONS = {}

local function condition(name, fn)
    CONDITIONS[#CONDITIONS + 1] = { name, fn }
end

condition("status", function(result, wanted)
    if not one_of(wanted, result.status) then
        return miss("answered", result.status, table.concat(wanted, " or "))
    end
end)

condition("to_https", function(_, _, response)
    if response.redirect and not response.redirect:lower():find "^https:" then
        return miss("it leads to", response.redirect, "https://")
    end
end)

-- The first thing that one demand on a JSON value misses: what, limit.
local function json_limit(value, one)
    if one.equals ~= nil then
        if value ~= one.equals then
            return one.equals
        end
    elseif value == nil or value == rt.json.null then
        return "present"
    elseif one.matches and not (type(value) == "string" and value:find(one.matches)) then
        return "matching " .. one.matches
    elseif one.one_of and not one_of(one.one_of, value) then
        return "one of " .. rt.json.encode(rt.json.array(one.one_of))
    elseif one.at_least and not (type(value) == "number" and value >= one.at_least) then
        return "at least " .. one.at_least
    elseif one.at_most and not (type(value) == "number" and value <= one.at_most) then
        return "at most " .. one.at_most
    end
end

condition("json", function(result, wanted)
    if result.json == nil then
        return miss("its body is", result.json_error or "no JSON", "JSON")
    end
    for _, one in ipairs(wanted) do
        local value = at_path(result.json, one.path)
        local limit = json_limit(value, one)
        if limit ~= nil then
            return miss(one.path .. " is", value, limit)
        end
    end
end)

condition("body", function(result, wanted)
    if not result.body:find(wanted) then
        return miss("its body is", excerpt(result.body), "matching " .. wanted)
    end
end)

condition("body_not", function(result, wanted)
    local found = result.body:match(wanted)
    if found then
        return miss("its body has", excerpt(found), "nothing that matches " .. wanted)
    end
end)

condition("min_bytes", function(result, wanted)
    if #result.body < wanted then
        return miss("its body has", #result.body, "at least " .. wanted, "bytes")
    end
end)

condition("max_bytes", function(result, wanted)
    if #result.body > wanted then
        return miss("its body has", #result.body, "at most " .. wanted, "bytes")
    end
end)

condition("max_ms", function(result, wanted)
    if result.ms > wanted then
        return miss("took", result.ms, wanted, "ms")
    end
end)

condition("headers", function(result, wanted)
    local misses = {}
    for _, one in ipairs(wanted) do
        local name, demand, value = one[1], one[2], result.headers[one[1]]
        if demand == false and value then
            misses[#misses + 1] = miss(name .. " is", value, "none")
        elseif demand == true and not value then
            misses[#misses + 1] = miss(name .. " is", "missing", "one")
        elseif type(demand) == "string" and not (value and value:find(demand)) then
            misses[#misses + 1] = miss(name .. " is", value or "missing", "matching " .. demand)
        end
    end
    return misses
end)

local function hsts(headers, wanted)
    local seconds = tonumber((headers["strict-transport-security"] or ""):lower():match("max%-age%s*=%s*\"?(%d+)"))
    if not seconds or seconds * 1000 < wanted then
        return miss("strict-transport-security is", headers["strict-transport-security"] or "missing",
            ("max-age=%d or more"):format(wanted // 1000))
    end
end

local function csp(headers, wanted)
    local value = headers["content-security-policy"]
    if not value or type(wanted) == "string" and not value:find(wanted) then
        return miss("content-security-policy is", value or "missing", type(wanted) == "string" and "matching " .. wanted or "one")
    end
end

local function nosniff(headers)
    local value = headers["x-content-type-options"]
    if (value or ""):lower() ~= "nosniff" then
        return miss("x-content-type-options is", value or "missing", "nosniff")
    end
end

local function frames(headers)
    local value = headers["x-frame-options"]
    local policy = (headers["content-security-policy"] or ""):find("frame-ancestors", 1, true)
    if not policy and not one_of({ "deny", "sameorigin" }, (value or ""):lower()) then
        return miss("x-frame-options is", value or "missing", "DENY, SAMEORIGIN or a policy's frame-ancestors")
    end
end

local function referrer(headers)
    local value = headers["referrer-policy"]
    if not value or value:lower():find("unsafe-url", 1, true) then
        return miss("referrer-policy is", value or "missing", "one that is not unsafe-url")
    end
end

condition("security", function(result, wanted)
    local misses = {}
    for _, one in ipairs { { "hsts", hsts }, { "csp", csp }, { "nosniff", nosniff }, { "frames", frames },
        { "referrer", referrer } } do
        if wanted[one[1]] then
            misses[#misses + 1] = one[2](result.headers, wanted[one[1]])
        end
    end
    return misses
end)

condition("cors", function(result, wanted)
    local allowed = result.headers["access-control-allow-origin"]
    if allowed and (allowed == "*" or allowed:lower() == wanted:lower()) then
        return miss("it lets pages of " .. wanted .. " read it: access-control-allow-origin is", allowed, "none for them")
    end
end)

-- Days until the first of the chain expires, and whose that is.
local function days_left(certificate)
    local least
    for _, link in ipairs(certificate.chain) do
        least = least and least.not_after <= link.not_after and least or link
    end
    return least and (least.not_after - rt.now() // 1000) // DAY, least and least.subject
end

condition("certificate", function(_, wanted, response)
    local certificate = response.certificate
    if not certificate then
        return miss("its certificate is", "missing", "one")
    end
    local days, whose = days_left(certificate)
    if days < wanted.days then
        return miss(("the certificate of %s expires in"):format(whose), days, "at least " .. wanted.days, "days")
    elseif wanted.issuer and not certificate.chain[1].issuer:find(wanted.issuer) then
        return miss("its certificate's issuer is", certificate.chain[1].issuer, "matching " .. wanted.issuer)
    end
end)

--- All that the answer misses, in order. `response` is the native one, with what is not for a playbook.
function M.missed(result, response, wanted)
    local misses = {}
    for _, one in ipairs(CONDITIONS) do
        local name, fn = one[1], one[2]
        if wanted[name] ~= nil then
            local found = fn(result, wanted[name], response)
            for _, each in ipairs(found and (found.text and { found } or found) or {}) do
                each.condition = name
                misses[#misses + 1] = each
            end
        end
    end
    return misses
end

--- What a pass should tell besides.
function M.noted(response, wanted)
    local certificate = wanted.certificate and response.certificate
    if not certificate then
        return ""
    end
    return ("; its certificate is for %s, by %s, %d days left"):format(certificate.names, certificate.chain[1].issuer,
        (days_left(certificate)))
end

return M
