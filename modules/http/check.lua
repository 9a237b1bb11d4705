-- http.check: an expectation about what a URL answers.
local rt, asked, client, conditions = ...

local describe, excerpt = asked.describe, client.excerpt

-- This machine's own trouble, which says nothing about the service.
local NO_DATA = { dns = true, network = true }
local NO_ANSWER = {
    connect = true, dns = true, network = true, reset = true, timeout = true, tls = true, protocol = true,
    body_too_large = true, redirect = true, private_address = true,
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

local function detail_of(response, misses)
    if response.redirect then
        return ("it redirects to %s; redirects = 1 follows"):format(response.redirect)
    end
    return misses[1].condition == "status" and excerpt(response.body) or nil
end

-- The first one missed is what was measured; the text tells all of them.
local function missed(args, response, misses)
    local texts = {}
    for i, miss in ipairs(misses) do
        texts[i] = miss.text
    end
    local first, detail = misses[1], detail_of(response, misses)
    return {
        name = describe(args), verdict = "fail", measured = first.measured, limit = first.limit, unit = first.unit,
        text = ("%s: %s%s"):format(describe(args), table.concat(texts, "; "),
            response.redirect and " (" .. detail .. ")" or ""),
        detail = detail,
    }
end

local function measure(args)
    local ok, response = pcall(client.exchange, args)
    if not ok then
        return no_answer(args, response)
    end
    local misses = conditions.missed(client.shape(args, response), response, args.wanted)
    if #misses > 0 then
        return missed(args, response, misses)
    end
    return {
        name = describe(args), verdict = "pass", measured = response.status,
        limit = table.concat(args.wanted.status, " or "),
        text = ("%s: answered %d in %d ms%s"):format(describe(args), response.status, response.ms,
            conditions.noted(response, args.wanted)),
    }
end

local function check_arguments(url, opts)
    local where = "http.check"
    local given = rt.options(opts or {}, asked.options.check, where)
    local method = (given.method or "GET"):upper()
    if asked.classes[method] ~= "read" then
        asked.fail(where, "a check changes nothing: GET, HEAD or OPTIONS, not %s", method)
    end
    local wanted = conditions.wanted(url, given, where)
    local args = asked.arguments(method, url, opts, asked.options.check, where)
    if wanted.cors then
        asked.put_header(args.headers, "Origin", wanted.cors)
    end
    args.certificate = wanted.certificate and true or nil
    args.wanted = wanted
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
