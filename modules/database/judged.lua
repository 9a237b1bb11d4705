-- What a read found, held against what a playbook expects of it.
--
-- Found is a map of names to values (a count, a setting) or to tables of fields (a column, an index). What is expected of
-- a name:
--   true        it is there, and sound            "text", 5     it is that, or its main field is
--   false       it is not there                   { … }         limits of expect (at_least = 1), or fields and theirs
local rt = ...

local M = {}

local LIMITS = { below = true, above = true, at_least = true, at_most = true, between = true, equals = true, one_of = true,
    includes = true, matches = true }
local SHOWN = 160

local function is_limits(want)
    local key = next(want)
    return LIMITS[key] ~= nil
end

-- "5s" of what is in milliseconds, "50GiB" of what is in bytes; "80%" is the limit's own.
local function limit_value(field, value)
    if type(value) == "table" then
        local all = {}
        for i, one in ipairs(value) do
            all[i] = limit_value(field, one)
        end
        return all
    elseif type(value) ~= "string" or value:find("%%") then
        return value
    elseif field:find("_ms$") or field == "ms" then
        return rt.duration(value)
    elseif field:find("bytes$") then
        return rt.size(value)
    end
    return value
end

local function unit_of(field)
    return (field:find("_ms$") or field == "ms") and "ms" or field:find("bytes$") and "bytes" or nil
end

local function item(name, verdict, text, measured, limit)
    return { name = name, verdict = verdict, text = text, measured = measured, limit = limit }
end

local function by_limits(name, field, value, want, why)
    local items = {}
    for word, limit in pairs(want) do
        if not LIMITS[word] then
            rt.raise("usage", ("%s: there is no limit %q: use at_least, at_most, below, above, between, equals, one_of,"
                .. " includes or matches"):format(name, tostring(word)))
        end
        if value == rt.json.null then
            value = nil
        end
        local expectation = rt.expect(name, value)
        limit = limit_value(field, limit)
        local judged
        if word == "between" then
            judged = expectation:between(limit[1], limit[2], unit_of(field))
        elseif word == "matches" or word == "one_of" then
            judged = expectation[word](expectation, limit)
        else
            judged = expectation[word](expectation, limit, unit_of(field))
        end
        local because = judged.verdict == "unknown" and why and ": " .. why or ""
        items[#items + 1] = item(name, judged.verdict, judged.text .. because, judged.measured, judged.limit)
    end
    return items
end

local function shown(value)
    if type(value) == "table" and value ~= rt.json.null then
        value = rt.json.encode(value)
    end
    local text = value == nil and "not known" or value == rt.json.null and "nothing" or tostring(value)
    return #text > SHOWN and text:sub(1, SHOWN) .. "…" or text
end

local function includes_all(list, wanted)
    local have = {}
    for _, one in ipairs(list) do
        have[one] = true
    end
    for _, one in ipairs(wanted) do
        if not have[one] then
            return false, one
        end
    end
    return true
end

-- One value: → items. `same(field, value, want)`: whether the driver takes them for the same.
local function judge_value(reader, name, field, value, want)
    local why = reader.why and reader.why[field]
    if type(want) == "table" and want ~= rt.json.null and is_limits(want) then
        return by_limits(name, field, value, want, why)
    elseif value == nil then
        return { item(name, "unknown", name .. " is not known" .. (why and ": " .. why or ""), nil, want) }
    elseif type(want) == "table" and type(value) == "table" and want ~= rt.json.null and #want > 0 then
        local all, missing = includes_all(value, want)
        return { item(name, all and "pass" or "fail", all and name .. " has " .. table.concat(want, ", ")
            or ("%s lacks %s, has %s"):format(name, shown(missing), table.concat(value, ", ")), value, want) }
    end
    local same = value == want or (want == false and value == rt.json.null and field ~= "default")
        or (reader.same and reader.same(field, value, want))
        or (math.type(value) and tonumber(want) == value)
    return { item(name, same and "pass" or "fail", ("%s is %s%s%s"):format(name, shown(value),
        same and "" or ", expected " .. shown(want), not same and why and " (" .. why .. ")" or ""), value, want) }
end

local function append(list, more)
    return table.move(more, 1, #more, #list + 1, list)
end

-- A thing with fields.
local function judge_thing(reader, name, thing, want)
    local unsound = reader.unsound and reader.unsound(thing)
    if want == true then
        return { item(name, unsound and "fail" or "pass", unsound and name .. " " .. unsound or name, true, true) }
    end
    local items = unsound and { item(name, "fail", name .. " " .. unsound, true, true) } or {}
    if type(want) ~= "table" or #want > 0 then
        want = { [reader.main] = want }
    end
    for field, value in pairs(want) do
        if not reader.fields[field] then
            rt.raise("usage", ("%s: %s has no %q%s"):format(reader.where, reader.thing, tostring(field),
                (function(hint) return hint and ": " .. hint or "" end)(rt.suggest(tostring(field), reader.field_names))))
        end
        local found = thing[field]
        if found == nil then
            found = rt.json.null
        end
        append(items, judge_value(reader, field == reader.main and name or name .. "'s " .. field, field, found, value))
    end
    return items
end

local function names_of(map)
    local names = {}
    for name in pairs(map) do
        names[#names + 1] = name
    end
    return names
end

local function missing(found, name)
    local hint = rt.suggest(name, names_of(found))
    return item(name, "fail", ("%s is missing%s"):format(name, hint and " (" .. hint .. ")" or ""), false, true)
end

local function judge_one(reader, found, name, want)
    local thing = found[name]
    if not reader.thing then
        if thing == nil and not (reader.known and reader.known[name]) then
            if reader.closed then
                local hint = rt.suggest(name, names_of(reader.known or found))
                rt.raise("usage", ("%s tells nothing of %q%s"):format(reader.where, name, hint and ": " .. hint or ""))
            end
            return { missing(found, name) }
        end
        if thing == rt.json.null then
            thing = nil
        end
        return judge_value(reader, reader.label and reader.label(name) or name, name, thing, want)
    elseif want == false then
        return { item(name, thing and "fail" or "pass", name .. (thing and " is still there" or " is not there"),
            thing ~= nil, false) }
    elseif not thing then
        return { missing(found, name) }
    end
    return judge_thing(reader, name, thing, want)
end

local WORST = { pass = 0, unknown = 1, fail = 2 }

local function join(items, wanted, separator)
    local texts = {}
    for _, one in ipairs(items) do
        if one.verdict == wanted then
            texts[#texts + 1] = one.text
        end
    end
    return table.concat(texts, separator)
end

--- The fields of an expectation made of those items.
function M.expectation(title, items)
    local verdict, measured, limit = "pass", {}, {}
    for _, one in ipairs(items) do
        if WORST[one.verdict] > WORST[verdict] then
            verdict = one.verdict
        end
        measured[one.name], limit[one.name] = one.measured, one.limit
    end
    local only = #items == 1 and math.type(items[1].measured) and items[1]
    local text = join(items, verdict, verdict == "pass" and ", " or "; ")
    if verdict == "fail" then
        local unknown = join(items, "unknown", "; ")
        text = text .. (unknown ~= "" and "; " .. unknown or "")
    end
    if verdict == "pass" and #items > 1 and #text > SHOWN then
        text = ("%d as expected"):format(#items)
    end
    return {
        name = title, verdict = verdict, text = title .. ": " .. text, detail = verdict ~= "pass" and text or nil,
        measured = only and only.measured or measured, limit = only and only.limit or limit,
    }
end

--- Holds what was found against { { name, want }, … }; an empty list: whether all that was found is sound.
function M.judge(reader, found, expected)
    local items = {}
    for _, pair in ipairs(expected) do
        if reader.special and type(pair[1]) == "table" then
            append(items, { reader.special(found, pair[1]) })
        else
            append(items, judge_one(reader, found, pair[1], pair[2]))
        end
    end
    if #expected == 0 then
        for name, thing in pairs(found) do
            append(items, reader.thing and judge_thing(reader, name, thing, true)
                or judge_value(reader, name, name, thing, reader.all))
        end
        if #items == 0 then
            items[1] = item("all", "unknown", "there is none", nil, nil)
        end
    end
    return items
end

M.item, M.names_of = item, names_of

return M
