-- PostgreSQL does not always write an expression down as it reads it: what a dump restored has its ANDs flattened and the
-- casts of ARRAY moved to the elements. This gives both forms the same text; they mean the same.
--
--   (((a >= 1) AND (a <= 2)) AND b)             ((a >= 1) AND (a <= 2) AND b)
--   (ARRAY['x'::varchar, v])::text[]            ARRAY[('x'::varchar)::text, (v)::text]
--
-- A text becomes a tree of words and of groups in brackets; strings, names in quotes and function bodies are words.

local CLOSING = { ["("] = ")", ["["] = "]" }

-- The end of what opens at `at` with a quote or a dollar tag.
local function opaque_end(text, at, opener)
    local tag = opener == "$" and text:match("^%$[%w_]*%$", at)
    if tag then
        return select(2, text:find(tag, at + #tag, true)) or #text
    elseif opener == "$" then
        return at
    end
    local escapes = opener == "'" and text:find("^[eE]", at - 1) and at > 1
    local i = at + 1
    while i <= #text do
        local char = text:sub(i, i)
        if escapes and char == "\\" then
            i = i + 1
        elseif char == opener and text:sub(i + 1, i + 1) == opener then
            i = i + 1
        elseif char == opener then
            return i
        end
        i = i + 1
    end
    return #text
end

local function parse(text)
    local root = {}
    local open, group, from, at = {}, root, 1, 1
    local function flush(to)
        if to >= from then
            group[#group + 1] = text:sub(from, to)
        end
    end
    while true do
        local start = text:find("[%(%)%[%]'\"$]", at)
        if not start then
            break
        end
        local char = text:sub(start, start)
        if CLOSING[char] then
            flush(start - 1)
            local child = { opener = char }
            group[#group + 1] = child
            open[#open + 1], group = group, child
            from, at = start + 1, start + 1
        elseif char == ")" or char == "]" then
            if CLOSING[group.opener] ~= char then
                return nil
            end
            flush(start - 1)
            group = table.remove(open)
            from, at = start + 1, start + 1
        else
            at = opaque_end(text, start, char) + 1
        end
    end
    flush(#text)
    return #open == 0 and root or nil
end

-- A group's word AND or OR where all its operands are joined by that one, else nil.
local function connective(group)
    local found
    for _, item in ipairs(group) do
        if type(item) == "string" then
            local bare = item:gsub("'[^']*'", ""):gsub('"[^"]*"', "")
            for word in bare:gmatch "%f[%w_]%u+%f[^%w_]" do
                if word == "BETWEEN" then
                    return nil
                elseif word == "AND" or word == "OR" then
                    if found and found ~= word then
                        return nil
                    end
                    found = word
                end
            end
        end
    end
    return found
end

local function splice(group, at, items, from, to)
    table.remove(group, at)
    for i = from, to do
        table.insert(group, at + i - from, items[i])
    end
end

local function flatten(group)
    local word = group.opener == "(" and connective(group)
    if not word then
        return
    end
    local i = 1
    while i <= #group do
        local item = group[i]
        if type(item) == "table" and item.opener == "(" and connective(item) == word then
            local before, after = group[i - 1], group[i + 1]
            local ends = before == nil or (type(before) == "string" and before:find("%f[%w]" .. word .. "%s+$"))
            local begins = after == nil or (type(after) == "string" and after:find("^%s+" .. word .. "%f[^%w]"))
            if ends and begins then
                splice(group, i, item, 1, #item)
            end
        end
        i = i + 1
    end
end

-- A text's parts between commas that are in no quotes.
local function parts_of(text)
    local parts, from, at = {}, 1, 1
    while true do
        local start = text:find("[,'\"]", at)
        if not start then
            break
        elseif text:sub(start, start) == "," then
            parts[#parts + 1] = text:sub(from, start - 1)
            from, at = start + 1, start + 1
        else
            at = opaque_end(text, start, text:sub(start, start)) + 1
        end
    end
    parts[#parts + 1] = text:sub(from)
    return parts
end

-- What stands between the commas of a group, each a group in round brackets.
local function elements_of(group)
    local elements = { { opener = "(" } }
    for _, item in ipairs(group) do
        local parts = type(item) == "string" and parts_of(item) or { item }
        for i, part in ipairs(parts) do
            if i > 1 then
                elements[#elements + 1] = { opener = "(" }
            end
            if type(part) == "string" then
                part = part:gsub("^%s+", "")
            end
            if part ~= "" then
                table.insert(elements[#elements], part)
            end
        end
    end
    return elements
end

local function is_cast(after, dimension)
    return type(after) == "string" and after:find("^::[%a_][%w_ .\"]*$") and type(dimension) == "table"
        and dimension.opener == "[" and #dimension == 0
end

-- (ARRAY[a, b])::type[] → ARRAY[(a)::type, (b)::type]
local function cast_elements(group)
    local i = 1
    while i < #group do
        local item, after = group[i], group[i + 1]
        if type(item) == "table" and #item == 2 and item[1] == "ARRAY" and item[2].opener == "["
            and is_cast(after, group[i + 2]) then
            local list = { opener = "[" }
            for n, element in ipairs(elements_of(item[2])) do
                if n > 1 then
                    list[#list] = list[#list] .. ", "
                end
                table.insert(list, element)
                table.insert(list, after)
            end
            table.remove(group, i + 2)
            group[i], group[i + 1] = "ARRAY", list
        end
        i = i + 1
    end
end

local function normalise(group)
    for _, item in ipairs(group) do
        if type(item) == "table" then
            normalise(item)
        end
    end
    cast_elements(group)
    flatten(group)
end

local function write(group, out)
    for _, item in ipairs(group) do
        if type(item) == "string" then
            out[#out + 1] = item
        else
            out[#out + 1] = item.opener
            write(item, out)
            out[#out + 1] = CLOSING[item.opener]
        end
    end
    return out
end

--- The text in the one form.
local function normal(text)
    if not (text:find(" AND ", 1, true) or text:find(" OR ", 1, true) or text:find("ARRAY[", 1, true)) then
        return text
    end
    local tree = parse(text)
    if not tree then
        return text
    end
    normalise(tree)
    return table.concat(write(tree, {}))
end

return normal
