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

local function is_list(value)
    if type(value) ~= "table" or expect.is(value) or expect.is_builder(value) then return false end
    local meta = debug.getmetatable(value)
    return meta == nil or meta == debug.getmetatable(host.json.array {})
end

-- Appends the expectations of a list, and of lists in it. What `ipairs` would not come to is not left out.
local function gather(where, given, count, list)
    for key in next, given do
        if math.type(key) ~= "integer" then
            wrong(where, ("the list has a %s where an expectation should be"):format(type(key) == "string"
                and ("field %q"):format(key) or type(key)))
        end
        count = math.max(count, key)
    end
    if count == 0 then wrong(where, "there is an empty list where an expectation should be, which measures nothing") end
    for i = 1, count do
        local one = given[i]
        if is_list(one) then
            gather(where, one, 0, list)
        elseif expect.is_builder(one) then
            wrong(where, tostring(one) .. " holds nothing: add its limit, like :at_least(1)")
        elseif not expect.is(one) then
            wrong(where, "the check returned " .. article(one) .. " where an expectation should be")
        else
            list[#list + 1] = one
        end
    end
    return list
end

local function expectations(where, name, ...)
    local first, evidence = ...
    if type(first) == "boolean" then
        return { expect.expectation {
            name = name, verdict = first and "pass" or "fail", measured = evidence,
            text = evidence ~= nil and ("%s: %s"):format(name, type(evidence) == "string" and expect.brief(evidence)
                or expect.show(evidence))
                or ("%s is %s"):format(name, first),
        } }
    elseif type(first) ~= "table" then
        wrong(where, "the check returned " .. (first == nil and "nothing" or article(first)))
    end
    return gather(where, { ... }, select("#", ...), {})
end

-- How many expectations stand in a list and the lists in it.
function check.count(value)
    if not is_list(value) then return expect.is(value) and 1 or 0 end
    local count = 0
    for _, one in next, value do count = count + check.count(one) end
    return count
end

-- What is wrong with what a check's body returned on samples, whatever a run's values are, or nil.
function check.misfit(where, value)
    if expect.is_builder(value) then return select(2, pcall(gather, where, { value }, 1, {})) end
    for _, one in next, is_list(value) and value or {} do
        local problem = check.misfit(where, one)
        if problem then return problem end
    end
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

local function holds_expectation(value)
    if not is_list(value) then return expect.is(value) or expect.is_builder(value) end
    for _, one in next, value do
        if holds_expectation(one) then return true end
    end
    return false
end

-- Judges a step's `done`: "done" and its value, "undone", or "unknown" and why. An expectation that failed is as true as
-- any table, and does not mean done.
function check.probe(scope, body)
    local ok, value = engine().check_place(body)
    if not ok then
        if engine().is_playbook_error(value) then error(value, 0) end
        return "unknown", type(value) == "table" and value.message or tostring(value)
    end
    if holds_expectation(value) then
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
