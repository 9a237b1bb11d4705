-- http.check: an expectation about what a URL answers.
local rt, asked, client = ...

local describe, one_of, at_path, excerpt = asked.describe, client.one_of, client.at_path, client.excerpt

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
            return value ~= nil and value ~= rt.json.null, value, wanted.path .. " present"
        end
        return value == wanted.equals, value, wanted.equals
    end },
    { "body", function(result, wanted)
        return result.body:find(wanted) ~= nil, excerpt(result.body), "matching " .. wanted
    end },
    { "max_ms", function(result, wanted)
        return result.ms <= wanted, result.ms, wanted, "ms"
    end },
}

-- This machine's own trouble, which says nothing about the service.
local NO_DATA = { dns = true, network = true }
local NO_ANSWER = {
    connect = true, dns = true, network = true, reset = true, timeout = true, tls = true, protocol = true,
    body_too_large = true, redirect = true,
}

local function no_answer(args, err)
    if type(err) ~= "table" or not NO_ANSWER[err.code] then
        error(err, 0)
    end
    return {
        name = describe(args), verdict = NO_DATA[err.code] and "unknown" or "fail",
        measured = "no answer: " .. err.code, limit = table.concat(args.wanted.status, " or "),
        text = err.message, detail = err.message,
    }
end

local function shown(value)
    return type(value) == "table" and rt.json.encode(value) or tostring(value)
end

local function missed(args, response, condition, measured, limit, unit)
    local what = condition == "status" and "answered" or condition == "max_ms" and "took"
        or condition == "json" and (args.wanted.json.path .. " is") or "its body is"
    local suffix = unit and " " .. unit or ""
    local detail = response.redirect and ("it redirects to %s; redirects = 1 follows"):format(response.redirect)
    return {
        name = describe(args), verdict = "fail", measured = measured, limit = limit, unit = unit,
        text = ("%s: %s %s%s, expected %s%s%s"):format(describe(args), what, shown(measured), suffix,
            shown(limit), suffix, detail and " (" .. detail .. ")" or ""),
        detail = detail or condition == "status" and excerpt(response.body) or nil,
    }
end

local function measure(args)
    local ok, response = pcall(client.exchange, args)
    if not ok then
        return no_answer(args, response)
    end
    local result = client.shape(args, response)
    for _, condition in ipairs(CONDITIONS) do
        local name, holds = condition[1], condition[2]
        if args.wanted[name] ~= nil then
            local good, measured, limit, unit = holds(result, args.wanted[name])
            if not good then
                return missed(args, response, name, measured, limit, unit)
            end
        end
    end
    return {
        name = describe(args), verdict = "pass", measured = result.status,
        limit = table.concat(args.wanted.status, " or "),
        text = ("%s: answered %d in %d ms"):format(describe(args), result.status, result.ms),
    }
end

local function check_arguments(url, opts)
    local where = "http.check"
    local given = rt.options(opts or {}, asked.options.check, where)
    local method = (given.method or "GET"):upper()
    if asked.classes[method] ~= "read" then
        asked.fail(where, "a check changes nothing: GET or HEAD, not %s", method)
    end
    if given.json then
        given.json = rt.options(given.json, { path = { "string", required = true }, equals = "any" }, where .. ": json")
    end
    local args = asked.arguments(method, url, opts, asked.options.check, where)
    args.wanted = {
        status = asked.statuses(given.status, where, "status") or { 200 },
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
        return { name = describe(args), verdict = "unknown", text = describe(args) .. ": not measured in a plan" }
    end,
}

return function(url, opts)
    return rt.expectation(checked(url, opts))
end
