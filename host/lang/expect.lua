-- expect("p95", 431):below(500, "ms"): one thing measured, held against one limit.
-- An expectation is plain data, { name, verdict, measured, limit, unit, text, detail }, with a mark.
local host = require "lang.host"
local options = require "lang.options"
local unknown = require "lang.unknown"

local expect = {}

local NULL = host.json.null
local LONGEST = 160

-- A text, short and on one line.
local function brief(text)
    if #text > LONGEST then
        text = text:sub(1, (utf8.offset(text, 0, LONGEST) or LONGEST) - 1) .. "… (" .. #text .. " bytes)"
    end
    return (text:gsub("%c", " "))
end

-- What is shown of a value.
local function show(value)
    local kind = type(value)
    local text
    if kind == "string" then
        return '"' .. brief(value) .. '"'
    elseif kind == "table" then
        local ok, json = pcall(host.json.encode, value)
        text = ok and json or tostring(value)
    elseif math.type(value) == "float" then
        text = ("%.6g"):format(value)
    elseif value == NULL then
        text = "null"
    else
        text = tostring(value)
    end
    return brief(text)
end

-- What the journal keeps of a measured value: a page's body is not evidence, its beginning is.
local KEPT = 2000

function expect.kept(value)
    if type(value) == "string" and #value > KEPT then return brief(value) end
    if type(value) == "table" then
        local ok, json = pcall(host.json.encode, value)
        if not ok or #json > KEPT then return show(value) end
    end
    return value
end

local function blame(name, message)
    options.refuse(("expect(%q)"):format(name), message)
end

-- Expectations -----------------------------------------------------------------------------------------

local FIELDS = { name = true, verdict = true, measured = true, limit = true, unit = true, text = true,
    detail = true }
local expectation = { __name = "expectation" }
expectation.__index = function(self, key)
    if FIELDS[key] then return nil end
    if expect.methods[key] then
        blame(rawget(self, "name"), "has one limit already: return a list of two expectations")
    end
    blame(rawget(self, "name"), ("an expectation has no field %q"):format(tostring(key)))
end
expectation.__tostring = function(self) return self.text end

local VERDICTS = { pass = true, fail = true, unknown = true }

expect.made = 0 -- so many so far: a plan compares with what a check returns

-- Makes one from its fields: for modules whose checks measure by themselves (http.check, sh.check).
function expect.expectation(fields)
    expect.made = expect.made + 1
    assert(VERDICTS[fields.verdict], "an expectation's verdict is pass, fail or unknown")
    local made = {}
    for key in pairs(FIELDS) do made[key] = fields[key] end
    made.name = made.name or "check"
    if not made.text then
        local parts = { made.name }
        if made.measured ~= nil then
            parts[#parts + 1] = "is " .. show(made.measured) .. (made.unit and " " .. made.unit or "")
        end
        if made.detail then parts[#parts + 1] = "(" .. tostring(made.detail) .. ")" end
        made.text = table.concat(parts, " ")
        if #parts == 1 then made.text = made.name .. ": " .. made.verdict end
    end
    return setmetatable(made, expectation)
end

function expect.is(value) return getmetatable(value) == expectation end

-- The measuring builder --------------------------------------------------------------------------------

local builder = { __name = "expect" }
builder.__index = function(self, key)
    local method = expect.methods[key]
    if method or key == "measured" then return method end -- measured: no data
    local list = {}
    for name in pairs(expect.methods) do list[#list + 1] = name end
    table.sort(list)
    local hint = host.suggest(tostring(key), list)
    blame(rawget(self, "name"), ("there is no limit %q%s"):format(tostring(key), hint and ": " .. hint or ""))
end
builder.__tostring = function(self) return ("expect(%q) without a limit"):format(rawget(self, "name")) end

function expect.is_builder(value) return getmetatable(value) == builder end

-- expect(name, measured): what the language exports.
function expect.new(name, measured)
    if type(name) ~= "string" or name == "" then
        options.refuse("expect", "the first argument names what is measured: expect(\"orders\", n)")
    end
    return setmetatable({ name = name, measured = measured }, builder)
end

-- A number written as text (DECIMAL columns arrive so) counts as the number.
local function number(value)
    if type(value) == "number" then return value end
    if type(value) == "string" then return tonumber(value) end
end

local function no_data(value)
    return value == nil or value == NULL or value ~= value
end

local function shown(value, unit)
    if unit == "%" then return ("%.4g%%"):format(value * 100) end
    return show(value) .. (unit and " " .. unit or "")
end

local function finish(self, verdict, limit, unit, text, detail)
    return expect.expectation { name = self.name, verdict = verdict, measured = self.measured,
        limit = limit, unit = unit, text = self.name .. " " .. text, detail = detail }
end

local function unmeasured(self, phrase, unit)
    local what = self.measured
    local why = what ~= nil and what ~= NULL and what == what and ("is %s, no number"):format(show(what))
        or what ~= what and "is not a number (NaN)" or "gave no data"
    if what ~= what then self.measured = nil end
    return finish(self, "unknown", phrase, unit, ("%s (expected %s)"):format(why, phrase))
end

-- A limit as a number and its unit: 500, "ms"; "1%" is the fraction 0.01.
local function limit_of(self, value, unit)
    if type(value) == "string" then
        local percent = value:match("^%s*([-+]?%d+%.?%d*)%s*%%%s*$")
        if percent then return tonumber(percent) / 100, "%" end
        blame(self.name, ("the limit %q is no number and no percentage like \"1%%\""):format(value))
    elseif type(value) ~= "number" or value ~= value then
        blame(self.name, ("the limit is %s: it must be a number or a percentage like \"1%%\""):format(show(value)))
    end
    if unit ~= nil and type(unit) ~= "string" then blame(self.name, "the unit is a text: below(500, \"ms\")") end
    return value, unit
end

local function numeric(words, holds)
    return function(self, limit, unit)
        if not expect.is_builder(self) then options.refuse("expect", "call it with a colon: expect(…):below(…)") end
        limit, unit = limit_of(self, limit, unit)
        local phrase = words .. " " .. shown(limit, unit)
        local value = self.measured
        if no_data(value) then return unmeasured(self, phrase, unit) end
        if type(value) == "table" then blame(self.name, "measured a table, not a number") end
        value = number(value)
        if value == nil then return unmeasured(self, phrase, unit) end
        local ok = holds(value, limit)
        return finish(self, ok and "pass" or "fail", phrase, unit,
            ("is %s%s%s"):format(shown(value, unit), ok and ", " or ", not ", phrase))
    end
end

-- rises_at_most / falls_at_most: how far a value may move from a base measured before the change.
local function moves(word, sign)
    return function(self, allowed, base, opts)
        opts = options.check(opts, { floor = "number" }, ("expect(%q):%s"):format(self.name, word))
        local amount, unit = limit_of(self, allowed)
        if amount < 0 then blame(self.name, "the allowed change is not negative") end
        local start = not no_data(base) and number(base) or nil
        if start == nil then
            return finish(self, "unknown", nil, nil, ("has no base to compare with (%s %s)"):format(
                word:gsub("_", " "), tostring(allowed)))
        end
        local function bound(from)
            return unit == "%" and from + sign * math.abs(from) * amount or from + sign * amount
        end
        -- Below the floor a rise means nothing (a base of 0 errors), above it a fall means nothing.
        local limit
        if sign > 0 then
            limit = bound(opts.floor and math.max(start, opts.floor) or start)
        else
            limit = opts.floor and math.min(bound(start), opts.floor) or bound(start)
        end
        local phrase = ("%s %s (%s %s from %s)"):format(sign > 0 and "at most" or "at least", show(limit),
            sign > 0 and "+" or "−", shown(amount, unit), show(start))
        local value = not no_data(self.measured) and number(self.measured) or nil
        if value == nil then return unmeasured(self, phrase) end
        local ok
        if sign > 0 then ok = value <= limit else ok = value >= limit end
        return finish(self, ok and "pass" or "fail", phrase, nil,
            ("is %s, %s%s"):format(show(value), ok and "" or "not ", phrase))
    end
end

local function equal(a, b)
    if a == b then return true end
    if type(a) == "table" and type(b) == "table" then
        for key, value in pairs(a) do
            if not equal(value, b[key]) then return false end
        end
        for key in pairs(b) do
            if a[key] == nil then return false end
        end
        return true
    end
    -- 12 and "12.00" are the same measurement; 12 and "twelve" are not.
    if type(a) ~= type(b) and number(a) and number(b) then return number(a) == number(b) end
    return false
end

-- A limit that is no number: `test(measured, limit)` decides.
local function plain(words, test, judge_limit)
    return function(self, limit, unit)
        if judge_limit then judge_limit(self, limit) end
        local phrase = words .. " " .. show(limit) .. (unit and " " .. unit or "")
        if no_data(self.measured) then return unmeasured(self, phrase, unit) end
        local ok = test(self.measured, limit)
        return finish(self, ok and "pass" or "fail", phrase, unit,
            ("is %s, %s%s"):format(shown(self.measured, unit), ok and "" or "not ", phrase))
    end
end

local function wanted(self, limit)
    if limit == nil then blame(self.name, "the value to compare with is nil") end
end

local function is_list(self, limit)
    if type(limit) ~= "table" or #limit == 0 then blame(self.name, "one_of takes a list: one_of { \"a\", \"b\" }") end
end

local function is_pattern(self, limit)
    local ok, why = pcall(string.find, "", limit)
    if type(limit) ~= "string" or not ok then
        blame(self.name, "matches takes a Lua pattern" .. (ok and "" or ": " .. tostring(why)))
    end
end

expect.methods = {
    below = numeric("below", function(value, limit) return value < limit end),
    above = numeric("above", function(value, limit) return value > limit end),
    at_least = numeric("at least", function(value, limit) return value >= limit end),
    at_most = numeric("at most", function(value, limit) return value <= limit end),
    rises_at_most = moves("rises_at_most", 1),
    falls_at_most = moves("falls_at_most", -1),
    equals = plain("equal to", equal, wanted),
    one_of = plain("one of", function(value, list)
        for _, one in ipairs(list) do
            if equal(value, one) then return true end
        end
        return false
    end, is_list),
    includes = plain("including", function(value, part)
        if type(value) == "string" then return value:find(tostring(part), 1, true) ~= nil end
        if type(value) ~= "table" then return false end
        for _, one in ipairs(value) do
            if equal(one, part) then return true end
        end
        return false
    end, wanted),
    matches = plain("matching", function(value, pattern)
        return (type(value) == "string" or type(value) == "number") and tostring(value):find(pattern) ~= nil
    end, is_pattern),
    between = function(self, low, high, unit)
        local from, percent = limit_of(self, low, unit)
        local to = limit_of(self, high, unit)
        unit = percent or unit
        if from > to then blame(self.name, "between takes the lower limit first") end
        local phrase = ("between %s and %s"):format(shown(from, unit), shown(to, unit))
        local value = not no_data(self.measured) and number(self.measured) or nil
        if value == nil then return unmeasured(self, phrase, unit) end
        local ok = value >= from and value <= to
        return finish(self, ok and "pass" or "fail", phrase, unit,
            ("is %s, %s%s"):format(shown(value, unit), ok and "" or "not ", phrase))
    end,
    -- The one limit for which no data is an answer.
    exists = function(self)
        local there = not no_data(self.measured)
        return finish(self, there and "pass" or "fail", "exists", nil, there and "exists" or "does not exist")
    end,
}

-- A plan holds nothing against what only a run knows, be it the measured value or the limit.
for name, method in pairs(expect.methods) do
    expect.methods[name] = function(self, ...)
        local given = table.pack(expect.is_builder(self) and rawget(self, "measured"), ...)
        for i = 1, given.n do
            if unknown.is(given[i]) then return finish(self, "unknown", nil, nil, "is known after run") end
        end
        return method(self, ...)
    end
end

-- The texts of what does not hold: what failed first, then what is unknown.
local function troubles(list)
    local texts = {}
    for _, verdict in ipairs { "fail", "unknown" } do
        for _, one in ipairs(list) do
            if one.verdict == verdict then texts[#texts + 1] = one.text end
        end
    end
    return texts
end

-- More of them than these are counted on a line, and an error gives each a line of its own.
local FEW = 2

local function counted(texts, list)
    return ("%d of %d do not hold"):format(#texts, #list)
end

-- Several expectations that do not all hold, on one line: for what is tried again.
function expect.summary(list)
    local texts = troubles(list)
    if #texts <= FEW then return table.concat(texts, "; ") end
    return ("%s: %s; %s; and %d more"):format(counted(texts, list), texts[1], texts[2], #texts - FEW)
end

-- The same for an error: all that do not hold. `suffix` says how it was tried.
function expect.listing(list, suffix)
    local texts = troubles(list)
    if #texts <= FEW then return table.concat(texts, "; ") .. suffix end
    return ("%s%s:\n  %s"):format(counted(texts, list), suffix, table.concat(texts, "\n  "))
end

local LINE = 240 -- characters that a line of what was measured may take

local function measured(one)
    local value = one.measured
    if type(value) == "number" then return one.name .. " " .. shown(value, one.unit) end
    if type(value) == "string" and #value <= 24 and not value:find("%c") then return one.name .. " " .. value end
    return one.text
end

-- Expectations that hold, on one line: one with its limit, of several what was measured.
function expect.passed(list)
    if #list == 1 then return list[1].text end
    local texts, size = {}, 0
    for i, one in ipairs(list) do
        local text = measured(one)
        size = size + #text
        if size > LINE and i > 1 then
            texts[i] = ("and %d more"):format(#list - i + 1)
            break
        end
        texts[i] = text
    end
    return ("%d hold: %s"):format(#list, table.concat(texts, ", "))
end

expect.show, expect.brief = show, brief

return expect
