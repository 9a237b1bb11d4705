-- What a check's body returned, judged: a verdict and the expectations behind it.
local host = require "lang.host"
local expect = require "lang.expect"

local check = {}

local function engine() return require "lang.engine" end

local function wrong(where, message)
    engine().fail("usage", where .. ": " .. message
        .. ": a check returns an expectation, a list of them, or a boolean and its evidence", { where = where })
end

local function article(value)
    local kind = type(value)
    return (kind:match("^[aeiou]") and "an " or "a ") .. kind
end

local function listed(where, value)
    if expect.is_builder(value) then
        wrong(where, tostring(value) .. " holds nothing: add its limit, like :at_least(1)")
    elseif not expect.is(value) then
        wrong(where, "the check returned " .. article(value) .. " where an expectation should be")
    end
    return value
end

local function expectations(where, name, first, ...)
    if expect.is(first) or expect.is_builder(first) then
        local list = { first, ... }
        for i = 1, select("#", ...) + 1 do list[i] = listed(where, list[i]) end
        return list
    elseif type(first) == "boolean" then
        local evidence = ...
        return { expect.expectation {
            name = name, verdict = first and "pass" or "fail", measured = evidence,
            text = evidence ~= nil and ("%s: %s"):format(name, type(evidence) == "string" and expect.brief(evidence)
                or expect.show(evidence))
                or ("%s is %s"):format(name, first),
        } }
    elseif type(first) == "table" then
        if #first == 0 then wrong(where, "the check returned an empty list, which measures nothing") end
        local list = {}
        for i, one in ipairs(first) do list[i] = listed(where, one) end
        return list
    end
    wrong(where, "the check returned " .. (type(first) == "nil" and "nothing" or article(first)))
end

-- Judges what `engine.check_place` gave back: ok, then the values or the error. An effect that broke is
-- "unknown"; an error of the playbook itself is raised with its line. → verdict, expectations
function check.judge(where, name, ok, ...)
    if not ok then
        local err = ...
        if engine().is_playbook_error(err) then error(err, 0) end
        local message = type(err) == "table" and err.message or tostring(err)
        return "unknown", { expect.expectation { name = name, verdict = "unknown",
            text = ("%s could not be measured: %s"):format(name, message), detail = message } }
    end
    local list = expectations(where, name, ...)
    local verdict = "pass"
    for _, one in ipairs(list) do
        if one.verdict == "fail" then
            verdict = "fail"
        elseif one.verdict == "unknown" and verdict == "pass" then
            verdict = "unknown"
        end
    end
    return verdict, list
end

-- Judges a step's `done`: "done" and its value, "undone", or "unknown" and why. An expectation that failed is as true as
-- any table, and does not mean done.
function check.probe(scope, body)
    local ok, value = engine().check_place(body)
    if not ok then
        if engine().is_playbook_error(value) then error(value, 0) end
        return "unknown", type(value) == "table" and value.message or tostring(value)
    end
    local first = value
    if type(value) == "table" and getmetatable(value) == nil then first = value[1] end
    if expect.is(first) or expect.is_builder(first) then
        local verdict = check.judge(("step %q: done"):format(scope.name), scope.name, true, value)
        return verdict == "pass" and "done" or verdict == "fail" and "undone" or "unknown", true
    end
    return value and "done" or "undone", value
end

-- Expectations as the journal keeps them.
function check.plain(list)
    local plain = {}
    for i, one in ipairs(list) do
        plain[i] = { name = one.name, verdict = one.verdict, measured = expect.kept(one.measured), limit = one.limit,
            unit = one.unit, text = one.text, detail = one.detail }
    end
    return plain
end

-- One measurement of a gate or soak: runs `body` where nothing can be changed, records a `check` event with
-- `facts` added. → verdict, expectations, ms
function check.measure(scope, body, facts, ...)
    local started = host.mono()
    local where = ("%s %q"):format(scope.kind, scope.name)
    local verdict, list = check.judge(where, scope.name, engine().check_place(body, ...))
    local payload = { name = scope.name, verdict = verdict, expectations = check.plain(list),
        text = verdict == "pass" and expect.passed(list) or expect.summary(list),
        ms = math.floor(host.mono() - started) }
    for key, value in pairs(facts) do payload[key] = value end
    engine().record("check", scope.key, payload)
    return verdict, list, payload
end

return check
